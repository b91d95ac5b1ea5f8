package authority

import (
	"context"
	"errors"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// Granting takes effect when it is published, stopping when it is durable. Where the publishing policy waits for
// witnesses, what grants is committed first and answered once its entries are published; the same request again has the
// same answer later.

// reasonUnpublished: what was asked for is durable and not published yet.
const reasonUnpublished = "not_published"

// awaitPublished returns when everything that is durable now is published, or refuses after a while.
func (a *Authority) awaitPublished(ctx context.Context) error {
	size, err := a.durableSize()
	if err != nil || a.heads.Published(size) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.publishWait)
	defer cancel()
	if err := a.heads.Await(ctx, size); err != nil {
		out := errUnavailable.because(reasonUnpublished).wrap(err)
		out.RetryAfter = time.Second
		return out
	}
	return nil
}

func (a *Authority) durableSize() (uint64, error) {
	v, err := a.log.View()
	if err != nil {
		return 0, unavailable("opening a view", err)
	}
	defer v.Close()
	return v.Head().Size, nil
}

// published reports whether the entry that justifies a row is published, so that something positive may rest on it.
func (a *Authority) published(row ledger.Row) bool { return a.heads.Published(row.JustifiedBy + 1) }

// pending reports whether something durable is not published.
func (a *Authority) pending() bool {
	size, err := a.durableSize()
	return err != nil || !a.heads.Published(size)
}

// readPublished is read for what is served to others: it sees the log as it is published.
func (a *Authority) readPublished() (*reading, error) {
	if !a.recovered.Load() {
		return nil, errUnavailable.because("starting")
	}
	return a.openOn(a.heads.View)
}

// publishedCheckpoint is the newest published checkpoint.
func (a *Authority) publishedCheckpoint() (string, error) {
	v, err := a.heads.View()
	if err != nil {
		return "", unavailable("opening a view", err)
	}
	defer v.Close()
	text := v.Checkpoint()
	if len(text) == 0 {
		return "", errUnavailable.because(reasonUnpublished).wrap(errors.New("nothing is published yet"))
	}
	return string(text), nil
}
