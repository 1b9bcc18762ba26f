package litefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchRest is the pause between two looks at the queue of events.
const watchRest = 250 * time.Microsecond

// watcher calls functions when files are written to, by way of inotify. Writes
// that the kernel passes through to a backing file raise the event like any
// others. It only wakes; whoever is woken looks for itself.
type watcher struct {
	file *os.File

	mu    sync.Mutex
	wakes map[int32]func()
}

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start inotify: %w", os.NewSyscallError("inotify_init1", err))
	}
	return &watcher{file: os.NewFile(uintptr(fd), "inotify"), wakes: make(map[int32]func())}, nil
}

// add has wake called whenever the file at path has been written to. The
// function that it returns ends that.
func (w *watcher) add(path string, wake func()) (remove func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := w.addWatch(path)
	if err != nil {
		return nil, err
	}
	w.wakes[wd] = wake
	return func() { w.remove(wd) }, nil
}

func (w *watcher) addWatch(path string) (int32, error) {
	var wd int
	var addErr error
	conn, err := w.file.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) {
			wd, addErr = unix.InotifyAddWatch(int(fd), path, unix.IN_MODIFY)
		})
	}
	if err := errors.Join(err, addErr); err != nil {
		return 0, fmt.Errorf("watch %q: %w", path, err)
	}
	return int32(wd), nil
}

func (w *watcher) remove(wd int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wakes, wd)
	conn, err := w.file.SyscallConn()
	if err != nil {
		return // closed, and all watches with it
	}
	_ = conn.Control(func(fd uintptr) {
		_, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) // the kernel drops it when the file goes
	})
}

// run reads events until the watcher is closed.
func (w *watcher) run() {
	rest := time.NewTimer(watchRest)
	defer rest.Stop()
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return // closed
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			w.dispatch(wd, mask)
			b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):]
		}
		// Equal events in the queue are merged: to wait a moment saves the
		// writer of a busy WAL a switch to this goroutine for every write.
		rest.Reset(watchRest)
		<-rest.C
	}
}

func (w *watcher) dispatch(wd int32, mask uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mask&unix.IN_Q_OVERFLOW != 0 {
		for _, wake := range w.wakes {
			wake()
		}
		return
	}
	if wake := w.wakes[wd]; wake != nil {
		wake()
	}
}

func (w *watcher) close() error { return w.file.Close() }
