package litefs

import (
	"context"
	"log/slog"
	"time"
)

// monitorRetention removes old LTX files until ctx is done.
func (s *Store) monitorRetention(ctx context.Context) {
	if s.RetentionMonitorInterval <= 0 {
		return
	}
	ticker := time.NewTicker(s.RetentionMonitorInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.EnforceRetention(ctx)
		}
	}
}

// EnforceRetention removes LTX files that are older than RetentionDuration, and
// the oldest of what is larger than MaxLogSizeBytes, of every database. The
// newest file of each stays. So goes what is left of transfers that nobody has taken up
// again. What cannot be removed is reported and tried again
// the next time.
func (s *Store) EnforceRetention(ctx context.Context) {
	for _, db := range s.DBs() {
		if ctx.Err() != nil {
			return
		}
		var minTime time.Time
		if s.RetentionDuration > 0 {
			minTime = db.Now().Add(-s.RetentionDuration)
		}
		db.syncAppended() // so that not all that stays can be lost with the power
		if err := db.gatherLog(); err != nil {
			db.logger.Warn("cannot make files of the tail of the log", slog.Any("error", err))
		}
		removed, err := db.log.enforceRetention(minTime, s.MaxLogSizeBytes)
		if err != nil {
			db.logger.Warn("cannot remove old files of the log", slog.Any("error", err))
		}
		if removed > 0 {
			db.logger.Debug("removed old files of the log", slog.Int("files", removed))
		}
		if err := db.partial.removeStale(db.Now()); err != nil {
			db.logger.Warn("cannot remove what is left of a transfer", slog.Any("error", err))
		}
	}
}
