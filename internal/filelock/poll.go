package filelock

import (
	"context"
	"time"
)

// The pause between two attempts doubles from minPause, which is in the order of a
// short transaction of SQLite, to maxPause, which bounds both how long a free lock
// goes unnoticed and what a long wait costs: 200 attempts a second.
const (
	minPause = 50 * time.Microsecond
	maxPause = 5 * time.Millisecond
)

// Poll calls try until it reports true or an error, with a growing pause of 50 µs
// to 5 ms between two calls. It returns the error of try, or context.Cause(ctx)
// once ctx is done; if ctx is done from the start, try is never called. It is for
// locks that take several steps, which try must undo before it reports false.
//
// Attempts are repeated because the kernel's own wait, F_OFD_SETLKW, cannot be
// given up: it ends early only when a signal handler interrupts it, and the Go
// runtime installs all its handlers with SA_RESTART, which resumes the wait.
func Poll(ctx context.Context, try func() (bool, error)) error {
	var timer *time.Timer
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ok, err := try(); ok || err != nil {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}
