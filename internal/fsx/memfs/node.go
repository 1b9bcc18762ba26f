package memfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// blockSize is how many bytes of a write survive together, or are lost together,
// when the power fails: the sector of a disk.
const blockSize = 512

// node is a file or a directory.
type node struct {
	mode  fs.FileMode
	mtime time.Time

	seen    state    // by programs
	durable state    // as it is on disk for certain
	pending []change // what leads from durable to seen
}

// state is the content of a file, or the names of a directory.
type state struct {
	data  []byte
	names map[string]*node // nil for a file
}

// changeKind says what a change does.
type changeKind uint8

const (
	write    changeKind = iota // data at offset
	truncate                   // to length offset
	link                       // node gets name
	unlink                     // name goes
	rename                     // node gets name instead of from
)

// change is one change of a state.
type change struct {
	kind       changeKind
	offset     int64
	data       []byte
	name, from string
	node       *node
	move       *move // of a link or an unlink that is one half of a rename
}

// move is a rename from one directory to another: it is durable, or survives, in
// both or in none.
type move struct{ durable bool }

func newDir(perm fs.FileMode) *node {
	return &node{
		mode: fs.ModeDir | perm, seen: state{names: make(map[string]*node)},
		durable: state{names: make(map[string]*node)},
	}
}

func (n *node) isDir() bool { return n.mode.IsDir() }

// change makes a change that programs see at once.
func (n *node) change(c change, now time.Time) {
	n.seen.apply(c)
	n.pending = append(n.pending, c)
	n.mtime = now
}

// sync makes durable what programs see.
func (n *node) sync() {
	for _, c := range n.pending {
		n.durable.apply(c)
		if c.move != nil {
			c.move.durable = true
		}
	}
	n.pending = nil
}

func (s *state) apply(c change) {
	switch c.kind {
	case write:
		s.grow(c.offset + int64(len(c.data)))
		copy(s.data[c.offset:], c.data)
	case truncate:
		s.grow(c.offset)
		s.data = s.data[:c.offset]
	case link:
		s.names[c.name] = c.node
	case unlink:
		delete(s.names, c.name)
	case rename:
		delete(s.names, c.from)
		s.names[c.name] = c.node
	}
}

// grow makes the data at least size bytes long.
func (s *state) grow(size int64) {
	if more := size - int64(len(s.data)); more > 0 {
		s.data = append(s.data, make([]byte, more)...)
	}
}

func (s *state) clone() state {
	return state{data: slices.Clone(s.data), names: maps.Clone(s.names)}
}

// Kill returns what another process finds once those that used the FS are dead.
// What they have not synced can still be lost by Crash.
func (f *FS) Kill() *FS {
	return f.reboot(func(n *node) (seen, durable state, pending []change) {
		return n.seen.clone(), n.durable.clone(), slices.Clone(n.pending)
	})
}

// Crash returns what is found when the power is back. Without rng it is only
// what was synced; else rng decides on each change that was not.
func (f *FS) Crash(rng *rand.Rand) *FS {
	fates := make(map[*move]bool)
	return f.reboot(func(n *node) (seen, durable state, pending []change) {
		seen = n.durable.clone()
		for _, c := range n.pending {
			switch {
			case c.move != nil:
				fate, known := fates[c.move]
				if !known {
					fate = c.move.durable || rng != nil && rng.IntN(2) == 0
					fates[c.move] = fate
				}
				if fate {
					seen.apply(c)
				}
			case rng != nil:
				seen.survive(c, rng)
			}
		}
		return seen, seen.clone(), nil
	})
}

// survive makes a change, a part of it, or nothing.
func (s *state) survive(c change, rng *rand.Rand) {
	if c.kind != write {
		if rng.IntN(2) == 0 {
			s.apply(c)
		}
		return
	}
	for off := 0; off < len(c.data); {
		n := min(len(c.data)-off, blockSize-int(c.offset+int64(off))%blockSize)
		if rng.IntN(2) == 0 {
			s.apply(change{kind: write, offset: c.offset + int64(off), data: c.data[off : off+n]})
		}
		off += n
	}
}

// reboot returns a new FS with the states that pick chooses.
func (f *FS) reboot(pick func(*node) (seen, durable state, pending []change)) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	copies, moves := make(map[*node]*node), make(map[*move]*move)
	var copyNode func(*node) *node
	copyNames := func(s *state) {
		// In order, so that a seed gives the same disk each time.
		for _, name := range slices.Sorted(maps.Keys(s.names)) {
			s.names[name] = copyNode(s.names[name])
		}
	}
	copyNode = func(n *node) *node {
		if c := copies[n]; c != nil {
			return c
		}
		c := &node{mode: n.mode, mtime: n.mtime}
		copies[n] = c
		c.seen, c.durable, c.pending = pick(n)
		copyNames(&c.seen)
		copyNames(&c.durable)
		for i := range c.pending {
			p := &c.pending[i]
			if p.node != nil {
				p.node = copyNode(p.node)
			}
			if p.move != nil {
				if moves[p.move] == nil {
					moves[p.move] = &move{p.move.durable}
				}
				p.move = moves[p.move]
			}
		}
		return c
	}
	after := newFS(copyNode(f.root))
	after.clock = f.clock
	return after
}

// info describes a node for Stat.
func (n *node) info(name string) fs.FileInfo {
	return fileInfo{name: name, size: int64(len(n.seen.data)), mode: n.mode, mtime: n.mtime}
}

// fileInfo implements fs.FileInfo.
type fileInfo struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.mtime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
