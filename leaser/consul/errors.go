package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// maxQuote bounds what an error quotes of an answer, in bytes.
const maxQuote = 300

// errNotConsul is the answer of a server that is not Consul's.
var errNotConsul = errors.New("it is not that of a Consul agent")

// conflictError is the answer to a transaction whose conditions did not hold.
type conflictError struct{ causes api.TxnErrors }

func (e *conflictError) Error() string {
	var text []string
	for _, cause := range e.causes {
		if !slices.Contains(text, cause.What) {
			text = append(text, cause.What)
		}
	}
	return "transaction refused: " + strings.Join(text, "; ")
}

// delayed reports whether it was the lock-delay.
func (e *conflictError) delayed() bool { return strings.Contains(e.Error(), "lock delay") }

func isConflict(err error) bool {
	var conflict *conflictError
	return errors.As(err, &conflict)
}

func isStatus(err error, code int) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == code
}

// explain returns err, which a request under ctx ended with after at most limit, as
// one line. The URL of a request is left out, for a session's ID may be in it.
func (c *client) explain(ctx context.Context, err error, limit time.Duration) error {
	var urlErr *url.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("no answer from Consul at %s: %w", c.where, ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from Consul at %s within %v: see whether its agent runs well", c.where, limit)
	case isDenied(err):
		return fmt.Errorf("Consul at %s denies it: %s; give this node an ACL token, as the password of "+ //nolint:staticcheck // it is a name
			"lease.consul.url, that may write the key of the lease and all below it, and sessions", c.where, quote(err))
	case isConflict(err):
		return err
	case errors.As(err, &urlErr):
		return fmt.Errorf("cannot reach Consul at %s: %w; see whether lease.consul.url is right and its agent runs", c.where, urlErr.Err)
	case strings.Contains(err.Error(), "No cluster leader"):
		return fmt.Errorf("Consul at %s has no leader: see whether most of its servers run", c.where) //nolint:staticcheck // it is a name
	case isRefusal(err):
		return fmt.Errorf("Consul at %s refuses it: %s", c.where, redact(quote(err))) //nolint:staticcheck // it is a name
	}
	return fmt.Errorf("answer of Consul at %s is not what was expected: %s; see whether lease.consul.url is right", c.where, redact(quote(err)))
}

// isRefusal reports whether an answer gives the reason for a failure. The api package
// knows the status of all but transactions.
func isRefusal(err error) bool {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code >= http.StatusBadRequest && status.Code != http.StatusNotFound
	}
	return strings.HasPrefix(err.Error(), "Failed request: ")
}

// isDenied reports whether Consul refuses something to the ACL token. A transaction is
// answered with the reason only, as a conflict or without the status.
func isDenied(err error) bool {
	return isStatus(err, http.StatusForbidden) ||
		strings.Contains(err.Error(), "Permission denied") || strings.Contains(err.Error(), "ACL not found")
}

// quote returns the text of an answer as the part of a line.
func quote(err error) string {
	text := err.Error()
	var status api.StatusError
	if errors.As(err, &status) {
		text = fmt.Sprintf("%d %s: %s", status.Code, http.StatusText(status.Code), status.Body)
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxQuote {
		text = strings.ToValidUTF8(text[:maxQuote], "") + "…"
	}
	return text
}

var sessionID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// redact hides the IDs of sessions, which are the tokens of leases.
func redact(text string) string { return sessionID.ReplaceAllString(text, "xxxxx") }

// foreignError is a key whose content this package has not written.
func (c *client) foreignError(key string) error {
	return fmt.Errorf("key %q in Consul at %s holds what no litefs node has written: "+
		"give lease.consul.key a name of its own, or delete the key if nobody needs it", key, c.where)
}
