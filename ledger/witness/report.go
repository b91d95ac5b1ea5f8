package witness

import (
	"context"
	"log/slog"
	"time"
)

// retryReport is how long a report that was not taken waits.
const retryReport = 10 * time.Second

// doubt wakes Run.
func (s *Server) doubt() {
	select {
	case s.doubts <- struct{}{}:
	default:
	}
}

// Run reports what looks like a fork until ctx ends. It returns nil.
func (s *Server) Run(ctx context.Context) error {
	if s.c.Report == nil {
		return nil
	}
	for {
		retry := time.NewTimer(retryReport)
		select {
		case <-s.doubts:
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil
		}
		retry.Stop()
		for _, d := range s.Suspicions() {
			if err := s.c.Report(ctx, d); err != nil {
				if ctx.Err() == nil {
					s.c.Logger.Warn("a suspicion was not taken", slog.String("log", d.Origin), slog.Any("error", err))
				}
				continue
			}
			s.reported(d)
		}
	}
}

// Suspicions lists what was kept and not reported by this process.
func (s *Server) Suspicions() []Suspicion {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Suspicion
	for _, st := range s.logs {
		for _, d := range st.suspicions {
			if !d.reported {
				all = append(all, Suspicion{Peer: st.Peer, Origin: st.Origin, Known: d.known, Other: d.other, Proven: d.proven})
			}
		}
	}
	return all
}

func (s *Server) reported(done Suspicion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.logs[done.Origin]
	for i, d := range st.suspicions {
		if string(d.other) == string(done.Other) && d.proven == done.Proven {
			st.suspicions[i].reported = true
		}
	}
}
