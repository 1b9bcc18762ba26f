package redis

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"litefs"
)

// nonceSize is the length of the part of a token that is left to chance.
const nonceSize = 32

// holder is what the key of the lease says. The zero holder is nobody.
type holder struct {
	epoch uint64
	nonce string
	info  litefs.PrimaryInfo
	left  time.Duration // until the lease lapses; 0 if it does not
}

// parseHolder parses the value of a lease.
func parseHolder(value string) (holder, error) {
	token, info, _ := strings.Cut(value, " ")
	epoch, err := parseToken(token)
	if err != nil {
		return holder{}, fmt.Errorf("%w: %w", ErrForeignValue, err)
	}
	h := holder{epoch: epoch, nonce: token[len(token)-nonceSize:]}
	if err := json.Unmarshal([]byte(info), &h.info); err != nil {
		return holder{}, fmt.Errorf("%w: decode primary info: %w", ErrForeignValue, err)
	}
	return h, nil
}

// parseToken returns the epoch in a token.
func parseToken(token string) (uint64, error) {
	number, nonce, _ := strings.Cut(token, "-")
	epoch, err := strconv.ParseUint(number, 10, 53)
	if err != nil || epoch == 0 || len(nonce) != nonceSize {
		return 0, fmt.Errorf("it does not begin with an epoch and %d digits", nonceSize)
	}
	return epoch, nil
}
