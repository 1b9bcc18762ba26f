package litefs_test

import (
	"math"
	"slices"
	"testing"

	"litefs"
)

// allLocks lists every lock by the offset of its first byte.
var allLocks = []struct {
	lock   litefs.LockType
	name   string
	offset int64
	length int64
	inSHM  bool
}{
	{litefs.LockTypeWrite, "WRITE", 120, 1, true},
	{litefs.LockTypeCkpt, "CKPT", 121, 1, true},
	{litefs.LockTypeRecover, "RECOVER", 122, 1, true},
	{litefs.LockTypeRead0, "READ0", 123, 1, true},
	{litefs.LockTypeRead1, "READ1", 124, 1, true},
	{litefs.LockTypeRead2, "READ2", 125, 1, true},
	{litefs.LockTypeRead3, "READ3", 126, 1, true},
	{litefs.LockTypeRead4, "READ4", 127, 1, true},
	{litefs.LockTypeDMS, "DMS", 128, 1, true},
	{litefs.LockTypePending, "PENDING", 0x40000000, 1, false},
	{litefs.LockTypeReserved, "RESERVED", 0x40000001, 1, false},
	{litefs.LockTypeShared, "SHARED", 0x40000002, 510, false},
}

func TestLockType(t *testing.T) {
	for _, want := range allLocks {
		if got := want.lock.String(); got != want.name {
			t.Errorf("%s: String = %q", want.name, got)
		}
		if got := want.lock.Offset(); got != want.offset {
			t.Errorf("%s: Offset = %d, want %d", want.name, got, want.offset)
		}
		if got := want.lock.Len(); got != want.length {
			t.Errorf("%s: Len = %d, want %d", want.name, got, want.length)
		}
		if got := want.lock.InSHM(); got != want.inSHM {
			t.Errorf("%s: InSHM = %v", want.name, got)
		}
		if !want.lock.IsValid() {
			t.Errorf("%s: not valid", want.name)
		}
	}
	for _, lock := range []litefs.LockType{-1, 0, 119, 129, 0x3fffffff, 0x40000003, 0x40000200} {
		if lock.IsValid() || lock.InSHM() {
			t.Errorf("%v: valid %v, in shm %v", lock, lock.IsValid(), lock.InSHM())
		}
	}
	if got, want := litefs.LockType(129).String(), "LockType(129)"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}

func TestParseLockRange(t *testing.T) {
	names := func(locks []litefs.LockType) (names []string) {
		for _, lock := range locks {
			names = append(names, lock.String())
		}
		return names
	}
	for _, test := range []struct {
		name       string
		start, end uint64
		want       []string
	}{
		{"PENDING", 0x40000000, 0x40000000, []string{"PENDING"}},
		{"RESERVED", 0x40000001, 0x40000001, []string{"RESERVED"}},
		{"SHARED", 0x40000002, 0x400001ff, []string{"SHARED"}},
		{"first byte of SHARED", 0x40000002, 0x40000002, []string{"SHARED"}},
		{"last byte of SHARED", 0x400001ff, 0x400001ff, []string{"SHARED"}},
		{"SHARED and beyond", 0x40000100, 0x40001000, []string{"SHARED"}},
		{"PENDING and RESERVED", 0x40000000, 0x40000001, []string{"PENDING", "RESERVED"}},
		{"all of the database file", 0x40000000, 0x400001ff, []string{"PENDING", "RESERVED", "SHARED"}},
		{"before PENDING", 0x3fffff00, 0x3fffffff, nil},
		{"after SHARED", 0x40000200, math.MaxUint64, nil},
		{"WRITE", 120, 120, []string{"WRITE"}},
		{"WRITE and CKPT", 120, 121, []string{"WRITE", "CKPT"}},
		{"CKPT and RECOVER", 121, 122, []string{"CKPT", "RECOVER"}},
		{"read marks", 123, 127, []string{"READ0", "READ1", "READ2", "READ3", "READ4"}},
		{"DMS", 128, 128, []string{"DMS"}},
		{"before WRITE", 0, 119, nil},
		{"after DMS", 129, 0x3fffffff, nil},
		{"reversed", 128, 120, nil},
		{"reversed inside SHARED", 0x40000010, 0x40000008, nil},
		{"highest byte", math.MaxUint64, math.MaxUint64, nil},
		{"whole file", 0, math.MaxUint64, []string{
			"WRITE", "CKPT", "RECOVER", "READ0", "READ1", "READ2", "READ3", "READ4", "DMS",
			"PENDING", "RESERVED", "SHARED",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := names(litefs.ParseLockRange(test.start, test.end)); !slices.Equal(got, test.want) {
				t.Errorf("ParseLockRange(%#x, %#x) = %v, want %v", test.start, test.end, got, test.want)
			}
		})
	}
}

// TestLockConstants fixes the names that others use for the same bytes.
func TestLockConstants(t *testing.T) {
	got := []int{
		litefs.WAL_WRITE_LOCK, litefs.WAL_CKPT_LOCK, litefs.WAL_RECOVER_LOCK,
		litefs.WAL_READ_LOCK0, litefs.WAL_READ_LOCK1, litefs.WAL_READ_LOCK2,
		litefs.WAL_READ_LOCK3, litefs.WAL_READ_LOCK4, litefs.UNIX_SHM_DMS,
		litefs.PENDING_BYTE, litefs.RESERVED_BYTE, litefs.SHARED_FIRST, litefs.SHARED_SIZE,
	}
	want := []int{120, 121, 122, 123, 124, 125, 126, 127, 128, 0x40000000, 0x40000001, 0x40000002, 510}
	if !slices.Equal(got, want) {
		t.Errorf("constants %v, want %v", got, want)
	}
}
