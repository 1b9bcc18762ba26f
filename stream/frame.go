package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

const (
	// MaxPayloadSize is the length in bytes that a payload may have, that of an LTX
	// frame excepted. It has room for the positions of some 50,000 databases.
	MaxPayloadSize = 4 << 20
	// MaxLTXSize is the length in bytes that the payload of an LTX frame may have.
	MaxLTXSize = 1 << 42

	frameHeaderSize = 4 + 8
	frameHashSize   = 8
)

// StreamFrameType says how to read a payload.
type StreamFrameType uint32 //nolint:revive // the name that LiteFS has for it

// Types of frames. The values are on the wire.
const (
	StreamFrameTypeLTX        = StreamFrameType(1)
	StreamFrameTypeReady      = StreamFrameType(2)
	StreamFrameTypeFollow     = StreamFrameType(3)
	StreamFrameTypeHello      = StreamFrameType(4)
	StreamFrameTypeDifference = StreamFrameType(5)
	StreamFrameTypeHeartbeat  = StreamFrameType(6)
	StreamFrameTypeHandoff    = StreamFrameType(7)
	StreamFrameTypeEnd        = StreamFrameType(8)
)

// StreamFrame is one message.
type StreamFrame interface { //nolint:revive // the name that LiteFS has for it
	// Type returns the type of the frame.
	Type() StreamFrameType
	// appendPayload appends the payload; for an LTX frame, what goes before the file.
	appendPayload(b []byte) ([]byte, error)
}

// ReadStreamFrame reads one frame. Its error is io.EOF only if there is no byte of
// another frame; it wraps io.ErrUnexpectedEOF for a frame that breaks off and
// ErrBadFrame for one that no node sends.
//
// The Body of an LTXStreamFrame reads on from r. It must be read to its end before
// the next frame, and the file in it is good only once Body has returned io.EOF.
func ReadStreamFrame(r io.Reader) (StreamFrame, error) {
	var header [frameHeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, fmt.Errorf("read frame header: %w", err)
	}
	typ := StreamFrameType(binary.BigEndian.Uint32(header[:]))
	length := binary.BigEndian.Uint64(header[4:])
	body := &payloadReader{r: r, hash: xxhash.New(), left: length}
	_, _ = body.hash.Write(header[:]) // never returns an error
	if typ == StreamFrameTypeLTX {
		return readLTXFrame(body)
	}
	decode := decoders[typ]
	if decode == nil {
		return nil, fmt.Errorf("%w: type %d", ErrBadFrame, typ)
	}
	if length > MaxPayloadSize {
		return nil, fmt.Errorf("%w: %d bytes in a frame of type %d, at most %d are allowed", ErrBadFrame, length, typ, MaxPayloadSize)
	}
	var payload bytes.Buffer // grows with what arrives, not with what is announced
	if _, err := payload.ReadFrom(body); err != nil {
		return nil, err
	}
	d := &decoder{b: payload.Bytes()}
	f := decode(d)
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("%w: type %d: %w", ErrBadFrame, typ, err)
	}
	return f, nil
}

// WriteStreamFrame writes one frame. For an LTXStreamFrame it copies Size bytes of
// Body; if there are fewer, what has been written is a frame that breaks off.
func WriteStreamFrame(w io.Writer, f StreamFrame) error {
	b := make([]byte, frameHeaderSize, 256)
	b, err := f.appendPayload(b)
	if err != nil {
		return err
	}
	length, limit := uint64(len(b)-frameHeaderSize), uint64(MaxPayloadSize)
	file, isLTX := f.(*LTXStreamFrame)
	if isLTX {
		if file.Size < 0 {
			return fmt.Errorf("write LTX frame: size of %d bytes", file.Size)
		}
		length, limit = length+frameHashSize+uint64(file.Size), MaxLTXSize
	}
	if length > limit {
		return fmt.Errorf("write frame of type %d: %d bytes, at most %d are allowed", f.Type(), length, limit)
	}
	binary.BigEndian.PutUint32(b, uint32(f.Type()))
	binary.BigEndian.PutUint64(b[4:], length)
	hash := xxhash.New()
	_, _ = hash.Write(b) // never returns an error
	if isLTX {
		return writeLTX(w, hash, b, file)
	}
	_, err = w.Write(hash.Sum(b))
	return err
}

// writeLTX writes an LTX frame, of which begin is what goes before the first hash.
func writeLTX(w io.Writer, hash *xxhash.Digest, begin []byte, f *LTXStreamFrame) error {
	w = io.MultiWriter(w, hash)
	sum := hash.Sum(nil)
	hash.Reset()
	if _, err := w.Write(append(begin, sum...)); err != nil {
		return err
	}
	if _, err := io.CopyN(w, f.Body, f.Size); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("write LTX frame: %w", err)
	}
	_, err := w.Write(hash.Sum(nil))
	return err
}

// payloadReader reads a payload and, at its end, compares the hash. Its errors stay.
type payloadReader struct {
	r    io.Reader
	hash *xxhash.Digest
	left uint64
	err  error
}

// Read implements io.Reader.
func (p *payloadReader) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.left == 0 {
		p.err = p.verify()
		return 0, p.err
	}
	if len(b) == 0 {
		return 0, nil
	}
	n, err := p.r.Read(b[:min(uint64(len(b)), p.left)])
	_, _ = p.hash.Write(b[:n]) // never returns an error
	p.left -= uint64(n)
	if err != nil && p.left > 0 {
		p.err = tornFrame(err)
		return n, p.err
	}
	return n, nil
}

// verify reads the hash; it returns io.EOF if it is right.
func (p *payloadReader) verify() error {
	var b [frameHashSize]byte
	if _, err := io.ReadFull(p.r, b[:]); err != nil {
		return tornFrame(err)
	}
	if got, want := binary.BigEndian.Uint64(b[:]), p.hash.Sum64(); got != want {
		return fmt.Errorf("%w: hash %016x, want %016x", ErrBadFrame, got, want)
	}
	return io.EOF
}

func tornFrame(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read frame: %w", err)
}
