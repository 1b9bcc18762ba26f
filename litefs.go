package litefs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Errors that callers decide on, grouped by when they happen.
var (
	// ErrDatabaseNotFound is returned for a name that no database has.
	ErrDatabaseNotFound = errors.New("database not found")
	// ErrDatabaseExists is returned when a database is created under a name in use.
	ErrDatabaseExists = errors.New("database already exists")
	// ErrInvalidName is returned for a file name that the mount cannot hold.
	ErrInvalidName = errors.New("invalid file name")

	// ErrReadOnlyReplica is returned for a write on a node that is not the primary.
	ErrReadOnlyReplica = errors.New("read only replica")
	// ErrNoJournal is returned for a database write that neither a rollback
	// journal nor a WAL covers, so that it could not be captured.
	ErrNoJournal = errors.New("write without a journal")
	// ErrCapture is returned while a change cannot be written to the LTX log.
	ErrCapture = errors.New("capture failed")
	// ErrClosed is returned by operations on a store that has been closed.
	ErrClosed = errors.New("store is closed")
	// ErrDataDirLocked is returned by Open when another process uses the data
	// directory.
	ErrDataDirLocked = errors.New("data directory is in use by another process")
)

// JournalMode is a SQLite journal mode, as PRAGMA journal_mode names it.
type JournalMode string

// The journal modes whose commits are captured.
const (
	JournalModeDelete   JournalMode = "DELETE"
	JournalModeTruncate JournalMode = "TRUNCATE"
	JournalModePersist  JournalMode = "PERSIST"
	JournalModeWAL      JournalMode = "WAL"
)

// FileType is the role of a file in the mount.
type FileType int

// The roles of files.
const (
	FileTypeNone FileType = iota
	FileTypeDatabase
	FileTypeJournal
	FileTypeWAL
	FileTypeSHM
	FileTypePos
	FileTypeSuperJournal
)

// IsValid reports whether t is one of the roles.
func (t FileType) IsValid() bool { return t > FileTypeNone && t <= FileTypeSuperJournal }

// String names the role.
func (t FileType) String() string {
	switch t {
	case FileTypeDatabase:
		return "database"
	case FileTypeJournal:
		return "journal"
	case FileTypeWAL:
		return "wal"
	case FileTypeSHM:
		return "shm"
	case FileTypePos:
		return "pos"
	case FileTypeSuperJournal:
		return "super-journal"
	default:
		return fmt.Sprintf("FileType(%d)", int(t))
	}
}

const (
	suffixJournal = "-journal"
	suffixWAL     = "-wal"
	suffixSHM     = "-shm"
	suffixPos     = "-pos"
)

// superJournalSuffix matches what SQLite appends to the name of the main
// database for a transaction over several (vdbeCommit in vdbeaux.c).
var superJournalSuffix = regexp.MustCompile(`-mj[0-9A-F]{9}$`)

// maxNameBytes leaves room for the longest suffix below the 255 bytes that a
// file name may have.
const maxNameBytes = 255 - len("-mj123456789")

// ParseFilename splits the name of a file in the mount into the name of its
// database and its role. It returns ErrInvalidName for a name that no such file
// can have: empty, too long, with a slash or a NUL, or starting with a dot.
func ParseFilename(name string) (db string, typ FileType, err error) {
	db, typ = name, FileTypeDatabase
	for _, s := range []struct {
		suffix string
		typ    FileType
	}{
		{suffixJournal, FileTypeJournal},
		{suffixWAL, FileTypeWAL},
		{suffixSHM, FileTypeSHM},
		{suffixPos, FileTypePos},
	} {
		if trimmed, ok := strings.CutSuffix(name, s.suffix); ok {
			db, typ = trimmed, s.typ
			break
		}
	}
	if loc := superJournalSuffix.FindStringIndex(name); loc != nil {
		db, typ = name[:loc[0]], FileTypeSuperJournal
	}
	if db == "" || db[0] == '.' || len(db) > maxNameBytes || strings.ContainsAny(db, "/\x00") {
		return "", FileTypeNone, fmt.Errorf("%w: %q", ErrInvalidName, name)
	}
	return db, typ, nil
}

// TrimName removes a "-journal", "-shm" or "-wal" from the end of name.
func TrimName(name string) string {
	for _, suffix := range []string{suffixJournal, suffixSHM, suffixWAL} {
		if trimmed, ok := strings.CutSuffix(name, suffix); ok {
			return trimmed
		}
	}
	return name
}
