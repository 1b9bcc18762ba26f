package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"litefs"
)

// obtain runs a script that grants the lease. The lease is nil if it does not, and other
// is what the script says of it.
//
// As long as no answer has said that a lease was granted, every attempt has the same
// nonce: the next one finds what an earlier one was granted without learning of it.
func (l *Leaser) obtain(ctx context.Context, what, script string, args ...any) (_ litefs.Lease, other string, err error) {
	l.obtaining.Lock()
	defer l.obtaining.Unlock()
	nonce := l.nextNonce()
	args = append([]any{nonce, l.info, l.expiry(), l.config.MinEpoch()}, args...)
	var (
		renewedAt time.Time
		granted   bool
		text      string // the token, or else other
		epoch     uint64
	)
	err = l.do(ctx, what, func(ctx context.Context) error {
		renewedAt = time.Now()
		answer, err := l.eval(ctx, script, args...).Slice()
		if err != nil {
			return err
		}
		granted, text, epoch, err = parseGrant(answer)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if !granted {
		return nil, text, nil
	}
	l.setNonce(newNonce())
	return &Lease{leaser: l, token: text, epoch: epoch, renewedAt: renewedAt}, "", nil
}

// parseGrant parses the answer of a script that grants the lease: its token and epoch, or
// else what the script says of it.
func parseGrant(answer []any) (granted bool, text string, epoch uint64, err error) {
	if len(answer) != 2 {
		return false, "", 0, errAnswer
	}
	number, isNumber := answer[0].(int64)
	text, isText := answer[1].(string)
	if !isNumber || !isText {
		return false, "", 0, errAnswer
	}
	if number == 0 {
		return false, text, 0, nil
	}
	if epoch, err = parseToken(text); err != nil {
		return false, "", 0, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return true, text, epoch, nil
}

func (l *Leaser) nextNonce() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nonce
}

func (l *Leaser) setNonce(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nonce = nonce
}

func newNonce() string {
	nonce := make([]byte, nonceSize/2)
	_, _ = rand.Read(nonce) // never fails
	return hex.EncodeToString(nonce)
}
