package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// What may be wrong with a Redis server. ErrUnreachable and ErrUnusable may pass; all
// others call for somebody to do something.
var (
	// ErrUnreachable is returned when there is no answer.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrUnusable is returned when the server refuses for a reason of its own.
	ErrUnusable = errors.New("is not usable")
	// ErrDenied is returned when the user or the password is not right, or the user
	// does not have the rights that it takes.
	ErrDenied = errors.New("denies access")
	// ErrEviction is returned when the server may evict the lease to free memory.
	ErrEviction = errors.New("may evict the lease")
	// ErrForeignValue is returned when a key holds what is not this package's.
	ErrForeignValue = errors.New("holds a value that does not belong to a lease")
	// ErrReadOnly is returned when the server is a replica of another one.
	ErrReadOnly = errors.New("is a read-only replica")
	// ErrWrongServer is returned when the server is not of the kind that the URL says.
	ErrWrongServer = errors.New("is not what the URL says")
)

// errAnswer is that of a script which has not been run by a Redis server.
var errAnswer = fmt.Errorf("%w: it gives an answer to a script that the script does not", ErrWrongServer)

// replies says what an error reply means, by a part of it: scripts of older servers
// quote the error in their own. Other replies are ErrUnusable.
var replies = []struct {
	part   string
	err    error
	advice string
}{
	{"WRONGPASS", ErrDenied, "correct user and password in the URL"},
	{"NOAUTH", ErrDenied, "add the password to the URL, as redis://:password@host"},
	{"NOPERM", ErrDenied, "allow the user the commands and keys that docs/redis.md lists"},
	{"READONLY", ErrReadOnly, "put its master in the URL, or use redis+sentinel://"},
	{"MOVED ", ErrWrongServer, "it is part of a Redis Cluster, use redis+cluster://"},
	{"cluster support disabled", ErrWrongServer, "it is no part of a Redis Cluster, use redis://"},
	{"unknown command 'sentinel'", ErrWrongServer, "it is no Sentinel, use redis://"},
	{"redis: nil", ErrWrongServer, "the Sentinels know no master of that name"},
	{"DB index", ErrWrongServer, "it does not have that database"},
	{"OOM", ErrUnusable, "its memory is full, raise maxmemory"},
	{"MISCONF", ErrUnusable, "it cannot save its data and takes no writes, see its log"},
	{"NOREPLICAS", ErrUnusable, "it lacks the replicas that min-replicas-to-write asks for"},
	{"EPOCH", ErrUnusable, "the epoch of a node or of the key's :cluster hash is damaged"},
}

// explain says of an error what is wrong, where, and what to do.
func (l *Leaser) explain(err error) error {
	if isReply(err) && strings.Contains(err.Error(), "WRONGTYPE") {
		err = fmt.Errorf("%w (%s)", ErrForeignValue, oneLine(err))
	}
	if errors.Is(err, ErrForeignValue) {
		return fmt.Errorf("redis %s, key %q: %w: choose another key, or delete that one", l.where, l.config.Key, err)
	}
	if errors.Is(err, ErrEviction) || errors.Is(err, ErrReadOnly) || errors.Is(err, ErrWrongServer) {
		return fmt.Errorf("redis %s %w", l.where, err)
	}
	if errors.Is(err, goredis.ErrClosed) {
		return fmt.Errorf("redis %s: %w", l.where, err)
	}
	for _, reply := range replies {
		if isReply(err) && strings.Contains(err.Error(), reply.part) {
			return fmt.Errorf("redis %s %w (%s): %s", l.where, reply.err, oneLine(err), reply.advice)
		}
	}
	if isReply(err) {
		return fmt.Errorf("redis %s %w (%s)", l.where, ErrUnusable, oneLine(err))
	}
	cause := strings.ReplaceAll(err.Error(), "\n", "; ")
	if errors.Is(err, context.DeadlineExceeded) { // which is not that of the caller
		cause = fmt.Sprintf("no answer within %v", l.config.CallTimeout)
	}
	return fmt.Errorf("redis %s %w: %s: start it, or correct the URL", l.where, ErrUnreachable, cause)
}

// isReply reports whether err is an error that the server has replied.
func isReply(err error) bool {
	_, ok := errors.AsType[goredis.Error](err)
	return ok
}

// oneLine returns a server's reply without where in a script it comes from.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), " script: ")
	text, _, _ = strings.Cut(text, "\n")
	return text
}
