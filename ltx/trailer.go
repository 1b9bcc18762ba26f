package ltx

import (
	"encoding/binary"
	"fmt"
)

// TrailerSize is the length of a trailer in bytes.
const TrailerSize = 16

// Trailer is the last part of a file. The layout is in the package comment.
type Trailer struct {
	PostApplyChecksum Checksum // database after the file is applied; 0 under HeaderFlagNoChecksum
	FileChecksum      Checksum
}

// Validate checks the form of the checksums against the header of the same
// file. Its error wraps ErrInvalidTrailer.
func (t Trailer) Validate(h Header) error {
	switch {
	case h.NoChecksum():
		if t.PostApplyChecksum != 0 {
			return fmt.Errorf("%w: post-apply checksum %s where there can be none", ErrInvalidTrailer, t.PostApplyChecksum)
		}
	case t.PostApplyChecksum&ChecksumFlag == 0:
		return fmt.Errorf("%w: post-apply checksum %s without bit 63", ErrInvalidTrailer, t.PostApplyChecksum)
	case h.Commit == 0 && t.PostApplyChecksum != ChecksumFlag:
		return fmt.Errorf("%w: post-apply checksum %s of a database without pages", ErrInvalidTrailer, t.PostApplyChecksum)
	}
	if t.FileChecksum&ChecksumFlag == 0 {
		return fmt.Errorf("%w: file checksum %s without bit 63", ErrInvalidTrailer, t.FileChecksum)
	}
	return nil
}

// AppendBinary implements encoding.BinaryAppender. It appends TrailerSize bytes
// and never fails; it does not validate.
func (t Trailer) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, uint64(t.PostApplyChecksum))
	return binary.BigEndian.AppendUint64(b, uint64(t.FileChecksum)), nil
}

// MarshalBinary implements encoding.BinaryMarshaler as AppendBinary does.
func (t Trailer) MarshalBinary() ([]byte, error) {
	return t.AppendBinary(nil)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler for exactly TrailerSize
// bytes; any other length is an error that wraps ErrInvalidTrailer. It does not
// validate.
func (t *Trailer) UnmarshalBinary(b []byte) error {
	if len(b) != TrailerSize {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrInvalidTrailer, len(b), TrailerSize)
	}
	*t = parseTrailer(b)
	return nil
}

// parseTrailer decodes TrailerSize bytes.
func parseTrailer(b []byte) Trailer {
	return Trailer{
		PostApplyChecksum: Checksum(binary.BigEndian.Uint64(b)),
		FileChecksum:      Checksum(binary.BigEndian.Uint64(b[8:])),
	}
}
