package stream

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"litefs/ltx"
)

// decoders make a frame of a payload; LTX frames have a reader of their own.
var decoders = map[StreamFrameType]func(d *decoder) StreamFrame{
	StreamFrameTypeReady:      func(*decoder) StreamFrame { return &ReadyStreamFrame{} },
	StreamFrameTypeFollow:     decodeFollow,
	StreamFrameTypeHello:      decodeHello,
	StreamFrameTypeDifference: decodeDifference,
	StreamFrameTypeHeartbeat:  decodeHeartbeat,
	StreamFrameTypeHandoff:    func(d *decoder) StreamFrame { return &HandoffStreamFrame{LeaseID: d.string()} },
	StreamFrameTypeEnd:        func(d *decoder) StreamFrame { return &EndStreamFrame{Code: Code(d.string()), Message: d.string()} },
}

// LTXStreamFrame is a piece of the log of one database.
type LTXStreamFrame struct {
	Name string    // of the database
	Size int64     // of the file, in bytes
	Body io.Reader // the file
}

// Type implements StreamFrame.
func (*LTXStreamFrame) Type() StreamFrameType { return StreamFrameTypeLTX }

func (f *LTXStreamFrame) appendPayload(b []byte) ([]byte, error) { return appendString(b, f.Name) }

func readLTXFrame(body *payloadReader) (StreamFrame, error) {
	if body.left > MaxLTXSize {
		return nil, fmt.Errorf("%w: LTX frame of %d bytes, at most %d are allowed", ErrBadFrame, body.left, MaxLTXSize)
	}
	var b [2]byte
	if err := readExactly(body, b[:]); err != nil {
		return nil, err
	}
	name := make([]byte, binary.BigEndian.Uint16(b[:]))
	if err := readExactly(body, name); err != nil {
		return nil, err
	}
	want := body.hash.Sum64()
	var sum [frameHashSize]byte
	if err := readExactly(body, sum[:]); err != nil {
		return nil, err
	}
	if got := binary.BigEndian.Uint64(sum[:]); got != want {
		return nil, fmt.Errorf("%w: LTX frame: hash %016x of length and name, want %016x", ErrBadFrame, got, want)
	}
	if err := checkName(string(name)); err != nil {
		return nil, fmt.Errorf("%w: LTX frame: %w", ErrBadFrame, err)
	}
	return &LTXStreamFrame{Name: string(name), Size: int64(body.left), Body: body}, nil
}

// readExactly fills b from a payload that has at least as much.
func readExactly(body *payloadReader, b []byte) error {
	if body.left < uint64(len(b)) {
		return fmt.Errorf("%w: LTX frame: %w", ErrBadFrame, errShortPayload)
	}
	_, err := io.ReadFull(body, b)
	return err
}

// ReadyStreamFrame says that what the primary had when the session began has been
// sent.
type ReadyStreamFrame struct{}

// Type implements StreamFrame.
func (*ReadyStreamFrame) Type() StreamFrameType { return StreamFrameTypeReady }

func (*ReadyStreamFrame) appendPayload(b []byte) ([]byte, error) { return b, nil }

// FollowStreamFrame is what a replica begins with.
type FollowStreamFrame struct {
	MinVersion, MaxVersion uint32             // of the protocol
	NodeID                 string             // of the replica
	ClusterID              string             // "" if it belongs to none yet
	Epoch                  uint64             // newest that the replica has seen
	Positions              map[string]ltx.Pos // of its databases
}

// Type implements StreamFrame.
func (*FollowStreamFrame) Type() StreamFrameType { return StreamFrameTypeFollow }

func (f *FollowStreamFrame) appendPayload(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint32(b, f.MinVersion)
	b = binary.BigEndian.AppendUint32(b, f.MaxVersion)
	b, err := appendStrings(b, f.NodeID, f.ClusterID)
	if err != nil {
		return nil, err
	}
	return appendPositions(binary.BigEndian.AppendUint64(b, f.Epoch), f.Positions)
}

func decodeFollow(d *decoder) StreamFrame {
	return &FollowStreamFrame{
		MinVersion: d.uint32(), MaxVersion: d.uint32(),
		NodeID: d.string(), ClusterID: d.string(), Epoch: d.uint64(), Positions: d.positions(),
	}
}

// HelloStreamFrame is what the primary answers with.
type HelloStreamFrame struct {
	Version   uint32 // of the protocol, for this session
	NodeID    string // of the primary
	ClusterID string
	Epoch     uint64        // of the primary's lease
	SessionID string        // for requests that belong to this session
	Heartbeat time.Duration // between two heartbeats; whole milliseconds, at least one
}

// Type implements StreamFrame.
func (*HelloStreamFrame) Type() StreamFrameType { return StreamFrameTypeHello }

func (f *HelloStreamFrame) appendPayload(b []byte) ([]byte, error) {
	b, err := appendStrings(binary.BigEndian.AppendUint32(b, f.Version), f.NodeID, f.ClusterID)
	if err != nil {
		return nil, err
	}
	if b, err = appendString(binary.BigEndian.AppendUint64(b, f.Epoch), f.SessionID); err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint32(b, uint32(f.Heartbeat.Milliseconds())), nil
}

func decodeHello(d *decoder) StreamFrame {
	f := &HelloStreamFrame{
		Version: d.uint32(), NodeID: d.string(), ClusterID: d.string(), Epoch: d.uint64(),
		SessionID: d.string(), Heartbeat: time.Duration(d.uint32()) * time.Millisecond,
	}
	if f.Heartbeat == 0 && d.err == nil {
		d.fail(fmt.Errorf("heartbeat interval of 0"))
	}
	return f
}

// DifferenceStreamFrame tells a replica to fetch the pages of a database that differ.
type DifferenceStreamFrame struct {
	Name     string // of the database
	Diverged bool   // the replica's position is not on the primary's history
}

// Type implements StreamFrame.
func (*DifferenceStreamFrame) Type() StreamFrameType { return StreamFrameTypeDifference }

func (f *DifferenceStreamFrame) appendPayload(b []byte) ([]byte, error) {
	b, err := appendString(b, f.Name)
	if err != nil {
		return nil, err
	}
	var diverged uint32
	if f.Diverged {
		diverged = 1
	}
	return binary.BigEndian.AppendUint32(b, diverged), nil
}

func decodeDifference(d *decoder) StreamFrame {
	return &DifferenceStreamFrame{Name: d.name(), Diverged: d.bool()}
}

// HeartbeatStreamFrame is a sign of life.
type HeartbeatStreamFrame struct {
	Timestamp int64              // sender's clock, milliseconds since 1970
	Positions map[string]ltx.Pos // of the sender's databases, those that have changed since its last
}

// Type implements StreamFrame.
func (*HeartbeatStreamFrame) Type() StreamFrameType { return StreamFrameTypeHeartbeat }

func (f *HeartbeatStreamFrame) appendPayload(b []byte) ([]byte, error) {
	return appendPositions(binary.BigEndian.AppendUint64(b, uint64(f.Timestamp)), f.Positions)
}

func decodeHeartbeat(d *decoder) StreamFrame {
	return &HeartbeatStreamFrame{Timestamp: int64(d.uint64()), Positions: d.positions()}
}

// HandoffStreamFrame passes the lease to the replica.
type HandoffStreamFrame struct {
	LeaseID string // as the lease store knows it
}

// Type implements StreamFrame.
func (*HandoffStreamFrame) Type() StreamFrameType { return StreamFrameTypeHandoff }

func (f *HandoffStreamFrame) appendPayload(b []byte) ([]byte, error) {
	return appendString(b, f.LeaseID)
}

// EndStreamFrame says why the primary ends the session.
type EndStreamFrame struct {
	Code    Code
	Message string // for people
}

// Type implements StreamFrame.
func (*EndStreamFrame) Type() StreamFrameType { return StreamFrameTypeEnd }

func (f *EndStreamFrame) appendPayload(b []byte) ([]byte, error) {
	return appendStrings(b, string(f.Code), f.Message)
}
