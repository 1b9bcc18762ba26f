package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"litefs"
	"litefs/ltx"
)

var (
	errShortPayload = errors.New("payload is too short")
	errLongPayload  = errors.New("payload is too long")
)

// decoder takes a payload apart. After the first error it yields zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// take returns the next n bytes, or nil.
func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.fail(errShortPayload)
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) string() string {
	if b := d.take(2); b != nil {
		return string(d.take(int(binary.BigEndian.Uint16(b))))
	}
	return ""
}

// name reads the name of a database.
func (d *decoder) name() string {
	s := d.string()
	if err := checkName(s); err != nil && d.err == nil {
		d.fail(err)
	}
	return s
}

// bool reads an integer that is 0 or 1.
func (d *decoder) bool() bool {
	v := d.uint32()
	if v > 1 {
		d.fail(fmt.Errorf("%d where there must be 0 or 1", v))
	}
	return v == 1
}

// positions reads positions. The map grows with what is there, not with what is
// announced.
func (d *decoder) positions() map[string]ltx.Pos {
	m := make(map[string]ltx.Pos)
	last := ""
	for n := d.uint32(); n > 0 && d.err == nil; n-- {
		name := d.name()
		if name <= last && d.err == nil {
			d.fail(fmt.Errorf("database %q after %q", name, last))
		}
		m[name] = ltx.Pos{TXID: ltx.TXID(d.uint64()), PostApplyChecksum: ltx.Checksum(d.uint64())}
		last = name
	}
	return m
}

// finish returns the first error, or one if there is a byte too many.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		return errLongPayload
	}
	return d.err
}

func appendString(b []byte, s string) ([]byte, error) {
	if len(s) > math.MaxUint16 {
		return nil, fmt.Errorf("write frame: string of %d bytes", len(s))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...), nil
}

func appendStrings(b []byte, s ...string) (_ []byte, err error) {
	for _, s := range s {
		if b, err = appendString(b, s); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendPositions(b []byte, m map[string]ltx.Pos) (_ []byte, err error) {
	b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if b, err = appendString(b, name); err != nil {
			return nil, err
		}
		b = binary.BigEndian.AppendUint64(b, uint64(m[name].TXID))
		b = binary.BigEndian.AppendUint64(b, uint64(m[name].PostApplyChecksum))
	}
	return b, nil
}

// checkName returns an error if no database can have the name.
func checkName(name string) error {
	_, typ, err := litefs.ParseFilename(name)
	if err == nil && typ != litefs.FileTypeDatabase {
		err = fmt.Errorf("%w: %q", litefs.ErrInvalidName, name)
	}
	return err
}
