package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// What may be wrong with a Redis server, or with how it is configured.
var (
	// ErrUnreachable is returned when there is no answer. It may pass.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrDenied is returned when the user or the password is not right, or does not
	// have the rights that it takes.
	ErrDenied = errors.New("denies access")
	// ErrEviction is returned when the server may evict the lease to free memory.
	ErrEviction = errors.New("may evict the lease")
	// ErrForeignValue is returned when a key holds what is not this package's.
	ErrForeignValue = errors.New("holds a value that does not belong to a lease")
	// ErrReadOnly is returned when the server is a replica of another one.
	ErrReadOnly = errors.New("is a read-only replica")
)

// errAnswer is what a server gives that only seems to be Redis.
var errAnswer = errors.New("gives an answer to a script that the script does not")

// errUnusable stands for all other conditions of a server.
var errUnusable = errors.New("is not usable")

// replies says what an error reply means, by a part of it: scripts of older servers
// quote the error in their own.
var replies = []struct {
	part   string
	err    error
	advice string
}{
	{"WRONGPASS", ErrDenied, "correct user and password in the URL"},
	{"NOAUTH", ErrDenied, "add the password to the URL, as redis://:password@host"},
	{"NOPERM", ErrDenied, "allow the user the commands and keys that docs/redis.md lists"},
	{"READONLY", ErrReadOnly, "put its master in the URL, or use redis+sentinel://"},
	{"MOVED ", errUnusable, "it is part of a Redis Cluster, use redis+cluster://"},
	{"cluster support disabled", errUnusable, "it is no part of a Redis Cluster, use redis://"},
	{"OOM", errUnusable, "its memory is full, raise maxmemory"},
	{"MISCONF", errUnusable, "it cannot save its data and takes no writes, see its log"},
	{"NOREPLICAS", errUnusable, "it lacks the replicas that min-replicas-to-write asks for"},
	{"DB index", errUnusable, "the database in the URL does not exist"},
	{"EPOCH", errUnusable, "the epoch of a node or of the key's :cluster hash is damaged"},
}

// explain says of an error what is wrong, where, and what to do.
func (l *Leaser) explain(err error) error {
	if isReply(err) && strings.Contains(err.Error(), "WRONGTYPE") {
		err = fmt.Errorf("%w (%s)", ErrForeignValue, oneLine(err))
	}
	if errors.Is(err, ErrForeignValue) {
		return fmt.Errorf("redis %s, key %q: %w: choose another key, or delete that one", l.where, l.config.Key, err)
	}
	if errors.Is(err, ErrEviction) || errors.Is(err, ErrReadOnly) || errors.Is(err, errAnswer) {
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
		return fmt.Errorf("redis %s %w (%s)", l.where, errUnusable, oneLine(err))
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
