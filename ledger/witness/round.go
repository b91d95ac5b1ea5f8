package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// A member is one witness of the policy and what is known about it. It is used by one goroutine at a time.
type member struct {
	ledger.PolicyWitness
	index  int
	client *http.Client
	size   uint64 // that it has cosigned last, as far as is known
	failed bool   // the last exchange: said once in the log, not every second
}

// restore takes the size that the witness cosigned from a head of the journal.
func (m *member) restore(w ledger.Witnessed) {
	for _, c := range w.Cosignatures {
		if c.Name == m.Verifier.Name() && c.KeyHash == m.Verifier.KeyHash() {
			m.size = w.Size
		}
	}
}

// Run shows the newest head to the witnesses until ctx ends: at once when somebody waits for it, else when it is
// time to look, and never more often than every interval. It returns nil; what fails is tried again.
func (p *Publisher) Run(ctx context.Context) error {
	if p.c.Policy == nil {
		return nil
	}
	for ctx.Err() == nil {
		asked, err := p.round(ctx)
		if err != nil && ctx.Err() == nil {
			p.c.Logger.Error("heads are not published", slog.Any("error", err))
		}
		wake := p.wake
		if asked || err != nil {
			wake = nil
		}
		pause := time.NewTimer(p.c.Interval)
		select {
		case <-pause.C:
		case <-wake:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	return nil
}

// round shows the newest head to every witness if it is not witnessed, or not recently, and reports whether it did.
func (p *Publisher) round(ctx context.Context) (asked bool, err error) {
	if p.c.Log.Health().Integrity != nil {
		return false, nil // no witness is shown a head that may be wrong
	}
	v, err := p.c.Log.View()
	if err != nil {
		return false, err
	}
	defer v.Close()
	head := v.Head()
	if head.Size == 0 || !p.due(head) {
		return false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collection{publisher: p, note: v.Checkpoint(), has: make([]bool, len(p.members)),
		enough: func() { time.AfterFunc(p.c.Interval, cancel) }} // the others get that much longer
	var group sync.WaitGroup
	for _, m := range p.members {
		group.Go(func() { c.ask(ctx, m, v, head) })
	}
	group.Wait()
	p.settle()
	return true, c.err
}

// due reports whether a head needs to be shown: it is new, or it was cosigned too long ago.
func (p *Publisher) due(head ledger.Head) bool {
	c := p.current.Load()
	return c == nil || c.Size != head.Size || p.c.Now().Sub(c.since) >= p.c.Refresh
}

// A collection gathers the cosignatures of one round.
type collection struct {
	publisher *Publisher
	enough    func()

	mu   sync.Mutex
	note []byte
	has  []bool // fresh, by witness
	err  error
}

// ask has one witness cosign the head and publishes as soon as the policy is satisfied, and again with every line that
// comes later.
func (c *collection) ask(ctx context.Context, m *member, v ledger.View, head ledger.Head) {
	p := c.publisher
	answer, err := p.exchange(ctx, m, v, head)
	if err == nil {
		err = c.add(m, answer)
	}
	if err == nil {
		m.failed = false
		p.event(EventCosigned)
		return
	}
	p.event(EventFailed)
	if ctx.Err() == nil && !m.failed {
		m.failed = true
		p.c.Logger.Warn("a witness did not cosign", slog.String("witness", m.Name), slog.Uint64("size", head.Size),
			slog.Any("error", err))
	}
}

// add takes the lines of a witness.
func (c *collection) add(m *member, answer []byte) error {
	p := c.publisher
	c.mu.Lock()
	defer c.mu.Unlock()
	cosigned, found, err := ledger.AddCosignatures(c.note, answer, m.Verifier)
	if err != nil {
		return err
	}
	if ahead := found[0].At.Sub(p.c.Now()); ahead > p.c.Tolerance {
		return fmt.Errorf("witness: its clock is %v ahead", ahead)
	}
	c.note, c.has[m.index] = cosigned, true
	if !p.c.Policy.Satisfied(func(i int) bool { return c.has[i] }) {
		return nil
	}
	w, err := p.c.Policy.Open(cosigned)
	if err == nil && (!w.Quorum || w.Origin != p.c.Origin) {
		err = errors.New("witness: the collected lines are not a quorum")
	}
	if err != nil {
		return err
	}
	if err := p.publish(w, cosigned); err != nil {
		c.err = err
		return nil
	}
	c.enough()
	return nil
}

// exchange asks one witness, once more if it has cosigned another size than was thought.
func (p *Publisher) exchange(ctx context.Context, m *member, v ledger.View, head ledger.Head) ([]byte, error) {
	for again := false; ; again = true {
		request := ledger.AddCheckpoint{Old: m.size, Checkpoint: v.Checkpoint()}
		if m.size > 0 && m.size < head.Size {
			var err error
			if request.Path, err = v.Consistency(m.size, head.Size); err != nil {
				return nil, err
			}
		}
		answer, err := addCheckpoint(ctx, p.client, m.URL, request)
		if err == nil {
			m.size = head.Size
			p.forget(m)
			return answer, nil
		}
		r, refused := errors.AsType[*Refusal](err)
		switch {
		case refused && r.Status == http.StatusConflict && r.Size > head.Size:
			return nil, errors.Join(err, p.suspect(ctx, m, r.Size))
		case refused && r.Status == http.StatusConflict && !again:
			p.event(EventConflict)
			m.size = r.Size
			continue
		case refused && r.Status == http.StatusUnprocessableEntity:
			return nil, errors.Join(err, p.suspect(ctx, m, 0))
		}
		return nil, err
	}
}

// suspect looks into it when a witness has seen something of this log that the log does not continue: more than there
// is, if size is not 0. It asks for the head that the witness has; one that this log signed is proof.
func (p *Publisher) suspect(ctx context.Context, m *member, size uint64) error {
	text, err := latest(ctx, p.client, m.URL, p.c.Origin)
	if err == nil {
		var c ledger.Checkpoint
		if c, err = ledger.OpenCheckpoint(text, p.c.Origin, p.c.Verifiers...); err == nil {
			err = p.convict(m, c, text)
		}
	}
	if size == 0 {
		return err
	}
	v, viewErr := p.c.Log.View()
	if viewErr != nil {
		return errors.Join(err, viewErr)
	}
	defer v.Close()
	if size > v.Head().Size { // the log did not grow meanwhile
		p.alarm(m)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.claims[m.index] = size
	}
	return err
}

// alarm tells that a witness has seen more of this log than there is.
func (p *Publisher) alarm(m *member) {
	name := m.Name
	p.ahead.Store(&name)
	p.event(EventAhead)
}

// convict holds a head that this log signed against the log: one that it does not continue closes the integrity latch
// and is kept.
func (p *Publisher) convict(m *member, c ledger.Checkpoint, text []byte) error {
	if err := p.holds(c); err != nil {
		return err
	}
	if latch := p.c.Log.Health().Integrity; latch == nil || latch.Code != CodeRollback && latch.Code != CodeFork {
		return nil
	}
	p.alarm(m)
	p.c.Logger.Error("a witness has a head of this log that the log does not continue",
		slog.String("witness", m.Name), slog.Uint64("size", c.Size))
	return p.keep(text)
}

// forget takes back what a witness claimed, after it has cosigned.
func (p *Publisher) forget(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.claims, m.index)
	if len(p.claims) == 0 {
		p.ahead.Store(nil)
	}
}

// settle closes the integrity latch if the witnesses that say they have seen more of this log are a quorum.
func (p *Publisher) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.claims) > 0 && p.c.Policy.Satisfied(func(i int) bool { return p.claims[i] > 0 }) {
		p.c.Log.CloseIntegrity(CodeRollback)
	}
}

// Check asks every witness for the newest head of this log that it has cosigned, as long as ctx lasts, and holds it
// against the log. It is for the start, before anything positive is signed. A witness that does not answer says
// nothing.
func (p *Publisher) Check(ctx context.Context) {
	var group sync.WaitGroup
	for _, m := range p.members {
		group.Go(func() {
			text, err := latest(ctx, p.client, m.URL, p.c.Origin)
			if err != nil {
				return
			}
			c, err := ledger.OpenCheckpoint(text, p.c.Origin, p.c.Verifiers...)
			if err == nil {
				m.size = c.Size
				err = p.convict(m, c, text)
			}
			if err != nil {
				p.c.Logger.Warn("the head of a witness was not compared", slog.String("witness", m.Name), slog.Any("error", err))
			}
		})
	}
	group.Wait()
}
