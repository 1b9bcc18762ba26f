package sqlitetest_test

import (
	"testing"

	"go.uber.org/goleak"

	"litefs/internal/sqlitetest"
)

func TestMain(m *testing.M) {
	if sqlitetest.Child() {
		return
	}
	goleak.VerifyTestMain(m)
}

// TestPlainDirectory proves the suite right. Other page sizes would show nothing
// more.
func TestPlainDirectory(t *testing.T) {
	sqlitetest.Run(t, func(t *testing.T, c sqlitetest.Case, combination sqlitetest.Combination) *sqlitetest.Env {
		t.Helper()
		if c.MountOnly || !onePageSize(c, combination) {
			return nil
		}
		return &sqlitetest.Env{Dir: t.TempDir()}
	})
}
