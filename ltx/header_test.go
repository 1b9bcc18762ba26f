package ltx

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"
)

// change is a valid header of a file that is not a snapshot.
var change = Header{PageSize: 4096, Commit: 5, MinTXID: 2, MaxTXID: 3, PreApplyChecksum: ChecksumFlag | 1}

func TestHeaderValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		ok   bool
		edit func(h *Header)
	}{
		{"unchanged", true, func(*Header) {}},
		{"snapshot", true, func(h *Header) { h.MinTXID, h.PreApplyChecksum = 1, 0 }},
		{"snapshot with pre-apply checksum", false, func(h *Header) { h.MinTXID = 1 }},
		{"no pre-apply checksum", false, func(h *Header) { h.PreApplyChecksum = 0 }},
		{"pre-apply checksum without flag", false, func(h *Header) { h.PreApplyChecksum = 1 }},
		{"no checksums", true, func(h *Header) { h.Flags, h.PreApplyChecksum = 2, 0 }},
		{"no checksums, but one", false, func(h *Header) { h.Flags = 2 }},
		{"flag 1", false, func(h *Header) { h.Flags = 1 }},
		{"flag 4", false, func(h *Header) { h.Flags = 4 }},
		{"flag 31", false, func(h *Header) { h.Flags = 1 << 31 }},
		{"page size 0", false, func(h *Header) { h.PageSize = 0 }},
		{"page size 1", false, func(h *Header) { h.PageSize = 1 }},
		{"page size 256", false, func(h *Header) { h.PageSize = 256 }},
		{"page size 512", true, func(h *Header) { h.PageSize = 512 }},
		{"page size 4097", false, func(h *Header) { h.PageSize = 4097 }},
		{"page size 65536", true, func(h *Header) { h.PageSize = 65536 }},
		{"page size 131072", false, func(h *Header) { h.PageSize = 131072 }},
		{"commit 0", true, func(h *Header) { h.Commit = 0 }},
		{"commit greatest", true, func(h *Header) { h.Commit = math.MaxUint32 }},
		{"first transaction 0", false, func(h *Header) { h.MinTXID = 0 }},
		{"first after last", false, func(h *Header) { h.MinTXID = 4 }},
		{"first is last", true, func(h *Header) { h.MinTXID = 3 }},
		{"greatest transaction", true, func(h *Header) { h.MaxTXID = math.MaxUint64 }},
		{"negative timestamp", true, func(h *Header) { h.Timestamp = -1 }},
		{"WAL", true, func(h *Header) { h.WALOffset, h.WALSize, h.WALSalt1, h.WALSalt2 = 32, 4120, 1, 2 }},
		{"WAL offset alone", true, func(h *Header) { h.WALOffset = 32 }},
		{"WAL size alone", false, func(h *Header) { h.WALSize = 32 }},
		{"WAL salt-1 alone", false, func(h *Header) { h.WALSalt1 = 1 }},
		{"WAL salt-2 alone", false, func(h *Header) { h.WALSalt2 = 1 }},
		{"WAL offset negative", false, func(h *Header) { h.WALOffset = -1 }},
		{"WAL size negative", false, func(h *Header) { h.WALOffset, h.WALSize = 1, -1 }},
		{"node", true, func(h *Header) { h.NodeID = math.MaxUint64 }},
	} {
		h := change
		tt.edit(&h)
		err := h.Validate()
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && !errors.Is(err, ErrInvalidHeader) {
			t.Errorf("%s: %v is no ErrInvalidHeader", tt.name, err)
		}
	}
}

func TestHeaderBytes(t *testing.T) {
	h := Header{
		Flags: 2, PageSize: 4096, Commit: 0x01020304, MinTXID: 0x1112131415161718, MaxTXID: 0x2122232425262728,
		Timestamp: -2, PreApplyChecksum: 0x8182838485868788, WALOffset: 0x3132333435363738,
		WALSize: 0x4142434445464748, WALSalt1: 0x51525354, WALSalt2: 0x61626364, NodeID: 0x7172737475767778,
	}
	const want = "4c545831" + "00000002" + "00001000" + "01020304" + "1112131415161718" + "2122232425262728" +
		"fffffffffffffffe" + "8182838485868788" + "3132333435363738" + "4142434445464748" + "51525354" + "61626364" +
		"7172737475767778" + "0000000000000000000000000000000000000000"
	b, err := h.MarshalBinary()
	if err != nil || hex.EncodeToString(b) != want {
		t.Fatalf("MarshalBinary = %x, %v", b, err)
	}
	var got Header
	if err := got.UnmarshalBinary(b); err != nil || got != h {
		t.Fatalf("UnmarshalBinary = %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[:99], append(bytes.Clone(b), 0), append([]byte("LTX2"), b[4:]...)} {
		if err := got.UnmarshalBinary(bad); !errors.Is(err, ErrInvalidHeader) {
			t.Errorf("UnmarshalBinary(%d bytes) = %v", len(bad), err)
		}
	}
}

func TestPageHeaderBytes(t *testing.T) {
	h := PageHeader{Pgno: 0x01020304, Flags: PageFlagBlock}
	b, err := h.MarshalBinary()
	if err != nil || hex.EncodeToString(b) != "010203040001" {
		t.Fatalf("MarshalBinary = %x, %v", b, err)
	}
	var got PageHeader
	if err := got.UnmarshalBinary(b); err != nil || got != h || got.IsZero() {
		t.Fatalf("UnmarshalBinary = %+v, %v", got, err)
	}
	if err := got.UnmarshalBinary(b[:5]); !errors.Is(err, ErrInvalidPage) {
		t.Errorf("UnmarshalBinary(5 bytes) = %v", err)
	}
	for _, bad := range []PageHeader{{}, {Pgno: 0, Flags: 1}, {Pgno: 1, Flags: 2}, {Pgno: 1, Flags: 0x8001}} {
		if err := bad.Validate(); !errors.Is(err, ErrInvalidPage) {
			t.Errorf("Validate(%+v) = %v", bad, err)
		}
	}
}

func TestTrailer(t *testing.T) {
	v := Trailer{PostApplyChecksum: 0x8102030405060708, FileChecksum: 0x9112131415161718}
	b, err := v.MarshalBinary()
	if err != nil || hex.EncodeToString(b) != "81020304050607089112131415161718" {
		t.Fatalf("MarshalBinary = %x, %v", b, err)
	}
	var got Trailer
	if err := got.UnmarshalBinary(b); err != nil || got != v {
		t.Fatalf("UnmarshalBinary = %+v, %v", got, err)
	}
	if err := got.UnmarshalBinary(b[:15]); !errors.Is(err, ErrInvalidTrailer) {
		t.Errorf("UnmarshalBinary(15 bytes) = %v", err)
	}
	const flag = ChecksumFlag
	plain, none := Header{Commit: 1}, Header{Commit: 1, Flags: HeaderFlagNoChecksum}
	for _, tt := range []struct {
		name string
		h    Header
		t    Trailer
		ok   bool
	}{
		{"both", plain, Trailer{flag | 1, flag | 2}, true},
		{"no post-apply checksum", plain, Trailer{0, flag | 2}, false},
		{"post-apply checksum without flag", plain, Trailer{1, flag | 2}, false},
		{"no file checksum", plain, Trailer{flag | 1, 0}, false},
		{"file checksum without flag", plain, Trailer{flag | 1, 2}, false},
		{"none", none, Trailer{0, flag | 2}, true},
		{"none, but one", none, Trailer{flag | 1, flag | 2}, false},
		{"no pages", Header{}, Trailer{flag, flag | 2}, true},
		{"no pages, but a sum", Header{}, Trailer{flag | 1, flag | 2}, false},
		{"no pages, none", Header{Flags: HeaderFlagNoChecksum}, Trailer{0, flag | 2}, true},
	} {
		err := tt.t.Validate(tt.h)
		if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrInvalidTrailer)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
