package ltx

import (
	"errors"
	"fmt"
)

const filenameSuffix = ".ltx"

// FormatFilename returns the name of the file that holds the transactions
// minTXID to maxTXID: two times 16 hex digits, "MIN-MAX.ltx". In a directory,
// names sort by first TXID.
func FormatFilename(minTXID, maxTXID TXID) string {
	b := appendHex(nil, uint64(minTXID))
	b = append(b, '-')
	b = appendHex(b, uint64(maxTXID))
	return string(append(b, filenameSuffix...))
}

// ParseFilename parses a name as FormatFilename makes it. It accepts only
// ranges that a file can have: 1 <= minTXID <= maxTXID.
func ParseFilename(name string) (minTXID, maxTXID TXID, err error) {
	if len(name) != posSize+len(filenameSuffix) || name[hexSize] != '-' || name[posSize:] != filenameSuffix {
		return 0, 0, fmt.Errorf("parse file name %q: not of the form MIN-MAX.ltx", name)
	}
	if minTXID, err = ParseTXID(name[:hexSize]); err != nil {
		return 0, 0, fmt.Errorf("parse file name %q: %w", name, err)
	}
	if maxTXID, err = ParseTXID(name[hexSize+1 : posSize]); err != nil {
		return 0, 0, fmt.Errorf("parse file name %q: %w", name, err)
	}
	if err := validateRange(minTXID, maxTXID); err != nil {
		return 0, 0, fmt.Errorf("parse file name %q: %w", name, err)
	}
	return minTXID, maxTXID, nil
}

// validateRange checks the transactions that one file may hold.
func validateRange(minTXID, maxTXID TXID) error {
	if minTXID == 0 {
		return errors.New("transaction IDs begin at 1")
	}
	if maxTXID < minTXID {
		return fmt.Errorf("last transaction %s before the first, %s", maxTXID, minTXID)
	}
	return nil
}
