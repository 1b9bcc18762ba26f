package redis

import (
	"encoding/json"
	"fmt"
	"strconv"

	"litefs"
)

// Fields of the hash of the cluster.
const (
	fieldClusterID = "cluster-id"
	fieldKeptEpoch = "kept-epoch"
	fieldPositions = "positions"
)

// parseRecord parses the values of fieldClusterID, fieldKeptEpoch and fieldPositions,
// which are nil if the field is not there.
func parseRecord(fields []any) (record litefs.Record, err error) {
	if len(fields) != 3 {
		return litefs.Record{}, errAnswer
	}
	record.ClusterID, _ = fields[0].(string)
	if epoch, ok := fields[1].(string); ok {
		if record.Epoch, err = strconv.ParseUint(epoch, 10, 53); err != nil {
			return litefs.Record{}, fmt.Errorf("%w: epoch: %w", ErrForeignValue, err)
		}
	}
	if positions, ok := fields[2].(string); ok {
		if err := json.Unmarshal([]byte(positions), &record.Positions); err != nil {
			return litefs.Record{}, fmt.Errorf("%w: decode positions: %w", ErrForeignValue, err)
		}
	}
	return record, nil
}
