package mounttest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// maxLogBytes bounds what a Log keeps: the newest half is kept when it is full.
const maxLogBytes = 1 << 20

// shownLogBytes is how much of the end of a log a failed test shows.
const shownLogBytes = 8 << 10

// Log keeps what a node logs, and shows the end of it if the test fails.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func newLog(tb testing.TB) *Log {
	tb.Helper()
	l := &Log{}
	tb.Cleanup(func() {
		if tb.Failed() {
			text := l.String()
			tb.Logf("log of the node:\n%s", text[max(0, len(text)-shownLogBytes):])
		}
	})
	return l
}

// Logger returns a logger that writes to l, at every level.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > maxLogBytes {
		l.buf.Next(maxLogBytes / 2)
	}
	return l.buf.Write(b)
}

// String returns what has been logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Contains reports whether text has been logged.
func (l *Log) Contains(text string) bool { return strings.Contains(l.String(), text) }
