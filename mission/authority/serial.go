package authority

import (
	"context"
	"sync"
)

// A serial lets one caller at a time work on a key. It only saves the losers of a race a wasted decision: correctness
// rests on the preconditions of the Change, which also hold against writers that do not know this lock.
type serial struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	waiting int
	token   chan struct{}
}

// take waits for the key's turn and returns the function that ends it.
func (s *serial) take(ctx context.Context, key string) (done func(), err error) {
	s.mu.Lock()
	if s.held == nil {
		s.held = map[string]*turn{}
	}
	t := s.held[key]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		s.held[key] = t
	}
	t.waiting++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(s.held, key)
		}
	}
	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
