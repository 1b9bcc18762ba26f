package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cespare/xxhash/v2"

	"litefs/ltx"
)

// golden has one frame of each type in the form it has on the wire, which no later
// version may change.
var golden = []struct {
	name  string
	frame StreamFrame
	hex   string
}{
	{
		"ltx", &LTXStreamFrame{Name: "db", Size: 3, Body: strings.NewReader("LTX")},
		"00000001" + "000000000000000f" + "00026462" + "8342fa8ff6bd5719" + "4c5458" + "01f5e101c2add3ce",
	},
	{"ready", &ReadyStreamFrame{}, "00000002" + "0000000000000000" + "d46336998d44d7a3"},
	{
		"follow", &FollowStreamFrame{
			MinVersion: 1, MaxVersion: 2, NodeID: "n", ClusterID: "c", Epoch: 7,
			Positions: map[string]ltx.Pos{"b": {TXID: 3, PostApplyChecksum: 1<<63 | 4}, "a": {TXID: 1, PostApplyChecksum: 1<<63 | 2}},
		},
		"00000003" + "0000000000000040" + "00000001" + "00000002" + "00016e" + "000163" + "0000000000000007" + "00000002" +
			"000161" + "0000000000000001" + "8000000000000002" +
			"000162" + "0000000000000003" + "8000000000000004" + "e4a41f5dba6996d1",
	},
	{
		"hello", &HelloStreamFrame{Version: 1, NodeID: "n", ClusterID: "c", Epoch: 7, SessionID: "s", Heartbeat: time.Second},
		"00000004" + "0000000000000019" + "00000001" + "00016e" + "000163" + "0000000000000007" + "000173" + "000003e8" + "4d0572f55da133c9",
	},
	{
		"difference", &DifferenceStreamFrame{Name: "db", Diverged: true},
		"00000005" + "0000000000000008" + "00026462" + "00000001" + "8a4d44026a9965c0",
	},
	{
		"heartbeat", &HeartbeatStreamFrame{Timestamp: 258, Positions: map[string]ltx.Pos{"a": {TXID: 1, PostApplyChecksum: 1<<63 | 2}}},
		"00000006" + "000000000000001f" + "0000000000000102" + "00000001" + "000161" + "0000000000000001" + "8000000000000002" + "e0eaf6efeab16fd5",
	},
	{"handoff", &HandoffStreamFrame{LeaseID: "lease"}, "00000007" + "0000000000000007" + "00056c65617365" + "18641a2aab7d3587"},
	{
		"end", &EndStreamFrame{Code: "closed", Message: "bye"},
		"00000008" + "000000000000000d" + "0006636c6f736564" + "0003627965" + "bed69d1bcab704a6",
	},
}

// readWhole reads a frame and its body.
func readWhole(r io.Reader) (StreamFrame, []byte, error) {
	f, err := ReadStreamFrame(r)
	if err != nil {
		return nil, nil, err
	}
	file, ok := f.(*LTXStreamFrame)
	if !ok {
		return f, nil, nil
	}
	b, err := io.ReadAll(file.Body)
	if err != nil {
		return nil, nil, err
	}
	return &LTXStreamFrame{Name: file.Name, Size: file.Size}, b, nil
}

func goldenBytes(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestStreamFrameGolden(t *testing.T) {
	for _, test := range golden {
		t.Run(test.name, func(t *testing.T) {
			if got := uint64(binary.BigEndian.Uint32(goldenBytes(t, test.hex))); got != uint64(test.frame.Type()) {
				t.Errorf("type is %d on the wire, Type says %d", got, test.frame.Type())
			}
			frame, body, err := readWhole(iotest.OneByteReader(bytes.NewReader(goldenBytes(t, test.hex))))
			if err != nil {
				t.Fatal(err)
			}
			want := test.frame
			if file, ok := want.(*LTXStreamFrame); ok {
				if string(body) != "LTX" {
					t.Errorf("body is %q", body)
				}
				want = &LTXStreamFrame{Name: file.Name, Size: file.Size}
			}
			if !reflect.DeepEqual(frame, want) {
				t.Errorf("read %+v, want %+v", frame, want)
			}
			var buf bytes.Buffer
			if err := WriteStreamFrame(&buf, test.frame); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(buf.Bytes()); got != test.hex {
				t.Errorf("wrote %s, want %s", got, test.hex)
			}
		})
	}
}

// A frame that breaks off anywhere is torn, and one that has any bit changed is not
// accepted.
func TestReadStreamFrameDamaged(t *testing.T) {
	for _, test := range golden {
		b := goldenBytes(t, test.hex)
		for n := range b {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if _, _, err := readWhole(bytes.NewReader(b[:n])); !errors.Is(err, want) {
				t.Errorf("%s: %d of %d bytes: error is %v, want %v", test.name, n, len(b), err, want)
			}
		}
		for bit := range len(b) * 8 {
			damaged := bytes.Clone(b)
			damaged[bit/8] ^= 1 << (bit % 8)
			if _, _, err := readWhole(bytes.NewReader(damaged)); !errors.Is(err, ErrBadFrame) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: bit %d flipped: error is %v", test.name, bit, err)
			}
		}
	}
}

// frame returns bytes with the right hash.
func frame(typ StreamFrameType, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(typ))
	b = binary.BigEndian.AppendUint64(b, uint64(len(payload)))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// announce returns the begin of a frame of the given length.
func announce(typ StreamFrameType, length uint64, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(typ))
	b = binary.BigEndian.AppendUint64(b, length)
	return append(b, payload...)
}

// ltxFrameOf returns an LTX frame with the right hashes and no file.
func ltxFrameOf(name string) []byte {
	b := announce(StreamFrameTypeLTX, uint64(len(name)+frameHashSize), name)
	b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// What no node sends is refused although its hash is right.
func TestReadStreamFrameBad(t *testing.T) {
	pos := strings.Repeat("\x00", 16)
	for name, b := range map[string][]byte{
		"type 0":                   frame(0, ""),
		"unknown type":             frame(9, ""),
		"too long":                 announce(StreamFrameTypeEnd, MaxPayloadSize+1, ""),
		"far too long":             announce(StreamFrameTypeEnd, 1<<63, ""),
		"LTX too long":             announce(StreamFrameTypeLTX, MaxLTXSize+1, "\x00\x02db"),
		"LTX without name":         frame(StreamFrameTypeLTX, ""),
		"LTX with part of a name":  frame(StreamFrameTypeLTX, "\x00\x02d"),
		"LTX without hash":         frame(StreamFrameTypeLTX, "\x00\x02db"),
		"LTX with wrong hash":      frame(StreamFrameTypeLTX, "\x00\x02db12345678"),
		"LTX with empty name":      ltxFrameOf("\x00\x00"),
		"LTX of a journal":         ltxFrameOf("\x00\x0adb-journal"),
		"LTX of another directory": ltxFrameOf("\x00\x04../x"),
		"ready with payload":       frame(StreamFrameTypeReady, "x"),
		"short hello":              frame(StreamFrameTypeHello, "\x00\x00\x00\x01"),
		"hello without heartbeat":  frame(StreamFrameTypeHello, "\x00\x00\x00\x01\x00\x00\x00\x00"+strings.Repeat("\x00", 8)+"\x00\x00\x00\x00\x00\x00"),
		"difference 2":             frame(StreamFrameTypeDifference, "\x00\x02db\x00\x00\x00\x02"),
		"difference of a WAL":      frame(StreamFrameTypeDifference, "\x00\x06db-wal\x00\x00\x00\x00"),
		"positions twice":          frame(StreamFrameTypeHeartbeat, strings.Repeat("\x00", 8)+"\x00\x00\x00\x02\x00\x01a"+pos+"\x00\x01a"+pos),
		"positions unordered":      frame(StreamFrameTypeHeartbeat, strings.Repeat("\x00", 8)+"\x00\x00\x00\x02\x00\x01b"+pos+"\x00\x01a"+pos),
		"positions missing":        frame(StreamFrameTypeHeartbeat, strings.Repeat("\x00", 8)+"\xff\xff\xff\xff\x00\x01a"+pos),
		"handoff with more":        frame(StreamFrameTypeHandoff, "\x00\x01xy"),
	} {
		if _, _, err := readWhole(bytes.NewReader(b)); !errors.Is(err, ErrBadFrame) {
			t.Errorf("%s: error is %v, want %v", name, err, ErrBadFrame)
		}
	}
}

// What is announced and does not arrive takes no memory.
func TestReadStreamFrameMemory(t *testing.T) {
	b := announce(StreamFrameTypeHeartbeat, MaxPayloadSize, strings.Repeat("\x00", 8)+"\xff\xff\xff\xff")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := ReadStreamFrame(bytes.NewReader(b)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error is %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 16<<10 {
		t.Errorf("%d bytes allocated a frame", got)
	}
}

func TestWriteStreamFrameRefused(t *testing.T) {
	for name, f := range map[string]StreamFrame{
		"string too long":  &HandoffStreamFrame{LeaseID: strings.Repeat("x", 1<<16)},
		"payload too long": &HeartbeatStreamFrame{Positions: manyPositions(MaxPayloadSize / 100)},
		"negative size":    &LTXStreamFrame{Name: "db", Size: -1},
		"LTX too long":     &LTXStreamFrame{Name: "db", Size: MaxLTXSize},
	} {
		var buf bytes.Buffer
		if err := WriteStreamFrame(&buf, f); err == nil || buf.Len() > 0 {
			t.Errorf("%s: error is %v, %d bytes written", name, err, buf.Len())
		}
	}
	err := WriteStreamFrame(io.Discard, &LTXStreamFrame{Name: "db", Size: 4, Body: strings.NewReader("LTX")})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("file shorter than announced: error is %v", err)
	}
}

func manyPositions(n int) map[string]ltx.Pos {
	m := make(map[string]ltx.Pos, n)
	for i := range n {
		m[strings.Repeat("x", 90)+hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(i)))] = ltx.Pos{}
	}
	return m
}

// Whatever is accepted is written back byte for byte: each message has one form.
func FuzzReadStreamFrame(f *testing.F) {
	for _, test := range golden {
		f.Add(goldenBytes(f, test.hex))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		in = bytes.Clone(in)
		fixHash(in)
		r := bytes.NewReader(in)
		frame, body, err := readWhole(r)
		if err != nil {
			return
		}
		if file, ok := frame.(*LTXStreamFrame); ok {
			file.Body = bytes.NewReader(body)
		}
		var out bytes.Buffer
		if err := WriteStreamFrame(&out, frame); err != nil {
			t.Fatal(err)
		}
		if used := in[:len(in)-r.Len()]; !bytes.Equal(out.Bytes(), used) {
			t.Fatalf("in %x, out %x", used, out.Bytes())
		}
	})
}

// fixHash gives the first frame in b the right hashes, so that fuzzing reaches what
// lies behind it.
func fixHash(b []byte) {
	if len(b) < frameHeaderSize+frameHashSize {
		return
	}
	length := binary.BigEndian.Uint64(b[4:])
	if begin := frameHeaderSize + 2 + int(binary.BigEndian.Uint16(b[frameHeaderSize:])); b[3] == byte(StreamFrameTypeLTX) && begin+frameHashSize <= len(b) {
		binary.BigEndian.PutUint64(b[begin:], xxhash.Sum64(b[:begin]))
	}
	if length <= uint64(len(b)-frameHeaderSize-frameHashSize) {
		end := frameHeaderSize + length
		binary.BigEndian.PutUint64(b[end:], xxhash.Sum64(b[:end]))
	}
}
