package ltx

import (
	"encoding/binary"
	"fmt"
)

const (
	// HeaderSize is the length of a header in bytes.
	HeaderSize = 100

	// HeaderFlagNoChecksum marks a file without database checksums: its
	// pre-apply and post-apply checksums are 0.
	HeaderFlagNoChecksum uint32 = 1 << 1

	magic        = "LTX1"
	reservedSize = 20
)

// Page sizes of SQLite, in bytes: the powers of two from the one to the other.
const (
	minPageSize = 512
	maxPageSize = 65536
)

// Header is the first part of a file. The layout is in the package comment.
type Header struct {
	Flags            uint32   // 0 or HeaderFlagNoChecksum
	PageSize         uint32   // bytes, a power of two from 512 to 65536
	Commit           uint32   // size of the database after applying, in pages
	MinTXID          TXID     // first transaction, at least 1
	MaxTXID          TXID     // last transaction, at least MinTXID
	Timestamp        int64    // milliseconds since 1970
	PreApplyChecksum Checksum // database before MinTXID; 0 in a snapshot and under HeaderFlagNoChecksum
	WALOffset        int64    // bytes; where the WAL held the transaction; 0 if it came from no WAL
	WALSize          int64    // bytes; 0 if WALOffset is 0
	WALSalt1         uint32   // 0 if WALOffset is 0
	WALSalt2         uint32   // 0 if WALOffset is 0
	NodeID           uint64   // writer of the file; 0 if not set
}

// IsSnapshot reports whether the file holds the whole database, which is so
// exactly if it begins with the first transaction.
func (h Header) IsSnapshot() bool { return h.MinTXID == 1 }

// NoChecksum reports whether the file has no database checksums.
func (h Header) NoChecksum() bool { return h.Flags&HeaderFlagNoChecksum != 0 }

// PreApplyPos returns the position that a database must have for the file to
// be applied. For a snapshot it is the zero Pos, and any database will do.
func (h Header) PreApplyPos() Pos {
	return Pos{TXID: h.MinTXID - 1, PostApplyChecksum: h.PreApplyChecksum}
}

// Validate checks the fields, alone and against each other. Its error wraps
// ErrInvalidHeader.
func (h Header) Validate() error {
	if h.Flags&^HeaderFlagNoChecksum != 0 {
		return fmt.Errorf("%w: unknown flags in %#x", ErrInvalidHeader, h.Flags)
	}
	if !validPageSize(h.PageSize) {
		return fmt.Errorf("%w: page size %d", ErrInvalidHeader, h.PageSize)
	}
	if err := validateRange(h.MinTXID, h.MaxTXID); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidHeader, err)
	}
	if err := h.validateWAL(); err != nil {
		return err
	}
	if h.IsSnapshot() || h.NoChecksum() {
		if h.PreApplyChecksum != 0 {
			return fmt.Errorf("%w: pre-apply checksum %s where there can be none", ErrInvalidHeader, h.PreApplyChecksum)
		}
	} else if h.PreApplyChecksum&ChecksumFlag == 0 {
		return fmt.Errorf("%w: pre-apply checksum %s without bit 63", ErrInvalidHeader, h.PreApplyChecksum)
	}
	return nil
}

func (h Header) validateWAL() error {
	if h.WALOffset < 0 || h.WALSize < 0 {
		return fmt.Errorf("%w: WAL offset %d, WAL size %d", ErrInvalidHeader, h.WALOffset, h.WALSize)
	}
	if h.WALOffset == 0 && (h.WALSize != 0 || h.WALSalt1 != 0 || h.WALSalt2 != 0) {
		return fmt.Errorf("%w: WAL size or salts without WAL offset", ErrInvalidHeader)
	}
	return nil
}

// AppendBinary implements encoding.BinaryAppender. It appends HeaderSize bytes
// and never fails; it does not validate.
func (h Header) AppendBinary(b []byte) ([]byte, error) { return h.append(b), nil }

// MarshalBinary implements encoding.BinaryMarshaler as AppendBinary does.
func (h Header) MarshalBinary() ([]byte, error) { return h.append(nil), nil }

func (h Header) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, h.Flags)
	b = binary.BigEndian.AppendUint32(b, h.PageSize)
	b = binary.BigEndian.AppendUint32(b, h.Commit)
	b = binary.BigEndian.AppendUint64(b, uint64(h.MinTXID))
	b = binary.BigEndian.AppendUint64(b, uint64(h.MaxTXID))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Timestamp))
	b = binary.BigEndian.AppendUint64(b, uint64(h.PreApplyChecksum))
	b = binary.BigEndian.AppendUint64(b, uint64(h.WALOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(h.WALSize))
	b = binary.BigEndian.AppendUint32(b, h.WALSalt1)
	b = binary.BigEndian.AppendUint32(b, h.WALSalt2)
	b = binary.BigEndian.AppendUint64(b, h.NodeID)
	return append(b, make([]byte, reservedSize)...)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler for exactly HeaderSize
// bytes. It checks length and magic, with an error that wraps ErrInvalidHeader;
// the fields are for Validate to check.
func (h *Header) UnmarshalBinary(b []byte) error {
	if len(b) != HeaderSize {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrInvalidHeader, len(b), HeaderSize)
	}
	if string(b[:4]) != magic {
		return fmt.Errorf("%w: magic %q", ErrInvalidHeader, b[:4])
	}
	*h = Header{
		Flags:            binary.BigEndian.Uint32(b[4:]),
		PageSize:         binary.BigEndian.Uint32(b[8:]),
		Commit:           binary.BigEndian.Uint32(b[12:]),
		MinTXID:          TXID(binary.BigEndian.Uint64(b[16:])),
		MaxTXID:          TXID(binary.BigEndian.Uint64(b[24:])),
		Timestamp:        int64(binary.BigEndian.Uint64(b[32:])),
		PreApplyChecksum: Checksum(binary.BigEndian.Uint64(b[40:])),
		WALOffset:        int64(binary.BigEndian.Uint64(b[48:])),
		WALSize:          int64(binary.BigEndian.Uint64(b[56:])),
		WALSalt1:         binary.BigEndian.Uint32(b[64:]),
		WALSalt2:         binary.BigEndian.Uint32(b[68:]),
		NodeID:           binary.BigEndian.Uint64(b[72:]),
	}
	return nil
}

func validPageSize(n uint32) bool {
	return n >= minPageSize && n <= maxPageSize && n&(n-1) == 0
}
