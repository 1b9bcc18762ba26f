package consul

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"litefs"
	"litefs/ltx"
)

// maxClusterID bounds what is taken for the identifier of a cluster, in bytes.
const maxClusterID = 256

// kept is the value of the key of the positions.
type kept struct {
	Epoch     uint64             `json:"epoch"`
	Positions map[string]ltx.Pos `json:"positions"`
}

func (l *Leaser) positionsKey() string { return l.key + "/positions" }

func (l *Leaser) clusterKey() string { return l.key + "/cluster" }

// Record implements litefs.Leaser.
func (l *Leaser) Record(ctx context.Context) (litefs.Record, error) {
	id, err := l.clusterID(ctx)
	if err != nil {
		return litefs.Record{}, fmt.Errorf("read record of the cluster: %w", err)
	}
	pair, err := l.client.get(ctx, l.positionsKey())
	if err != nil {
		return litefs.Record{}, fmt.Errorf("read record of the cluster: %w", err)
	}
	record := litefs.Record{ClusterID: id}
	if pair == nil {
		return record, nil
	}
	var value kept
	if err := json.Unmarshal(pair.Value, &value); err != nil || !isEpoch(value.Epoch) {
		return litefs.Record{}, fmt.Errorf("read record of the cluster: %w", l.client.foreignError(l.positionsKey()))
	}
	record.Epoch, record.Positions = value.Epoch, value.Positions
	return record, nil
}

// FoundCluster implements litefs.Leaser.
func (l *Leaser) FoundCluster(ctx context.Context, id string) (string, error) {
	settled, err := l.foundCluster(ctx, id)
	if err != nil {
		return "", fmt.Errorf("found cluster: %w", err)
	}
	return settled, nil
}

func (l *Leaser) foundCluster(ctx context.Context, id string) (string, error) {
	if !isClusterID(id) {
		return "", fmt.Errorf("%q cannot be the identifier of a cluster", id)
	}
	if settled, err := l.clusterID(ctx); err != nil || settled != "" {
		return settled, err
	}
	// An index of 0 sets the key only if there is none.
	err := l.client.txn(ctx, &api.KVTxnOp{Verb: api.KVCAS, Key: l.clusterKey(), Value: []byte(id)})
	if err != nil && !isConflict(err) {
		return "", err
	}
	return l.clusterID(ctx) // ours, or that of who was faster
}

// clusterID returns the identifier of the cluster, empty if there is none yet.
func (l *Leaser) clusterID(ctx context.Context) (string, error) {
	pair, err := l.client.get(ctx, l.clusterKey())
	if err != nil || pair == nil {
		return "", err
	}
	if id := string(pair.Value); isClusterID(id) {
		return id, nil
	}
	return "", l.client.foreignError(l.clusterKey())
}

// isClusterID reports whether text is one printable word.
func isClusterID(text string) bool {
	return text != "" && len(text) <= maxClusterID &&
		!strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
