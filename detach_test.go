package litefs_test

import (
	"errors"
	"os"
	"testing"

	"litefs"
)

// An open that the mount has let in before it was about to go, and that comes to the
// database after, is refused: whoever opens a wal-index then would not be fenced off.
func TestOpenAfterDetach(t *testing.T) {
	r := newCrashRun(t)
	r.open()
	r.store.SetMount(t.TempDir(), false, nil)
	r.pager.mode = litefs.JournalModeWAL
	r.commit()
	db := r.pager.db
	r.store.Detach()
	for _, typ := range []litefs.FileType{litefs.FileTypeDatabase, litefs.FileTypeWAL} {
		if _, err := db.OpenFile(typ, os.O_RDWR); !errors.Is(err, litefs.ErrClosed) {
			t.Errorf("open of the %s: %v, want ErrClosed", typ, err)
		}
	}
	if _, err := db.CreateFile(litefs.FileTypeSHM, os.O_RDWR|os.O_CREATE, 0o644); !errors.Is(err, litefs.ErrClosed) {
		t.Errorf("creation of a wal-index: %v, want ErrClosed", err)
	}
	if _, err := r.store.CreateDBIfNotExists("other"); !errors.Is(err, litefs.ErrClosed) {
		t.Errorf("creation of a database: %v, want ErrClosed", err)
	}
	r.must(r.store.Close())
}
