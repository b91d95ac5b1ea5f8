package witness

import "context"

// FillJournal makes every further record write the journal anew.
func (s *Server) FillJournal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.limit = -1
}

// FillJournal makes every further record write the journal anew.
func (p *Publisher) FillJournal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.journal.limit = -1
}

// Round is one round of Run.
func (p *Publisher) Round(ctx context.Context) (bool, error) { return p.round(ctx) }
