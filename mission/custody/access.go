package custody

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// maxReads bounds the reads that are remembered; beyond it a read may be recorded twice in an hour.
const maxReads = 1 << 16

// access is what one record of an hour covers.
type access struct {
	digest ledger.Hash
	reader string
}

// Read returns an evidence body to a reader. Who reads is logged first, in the feed <issuer>/exports/access-YYYYMMDD:
// once for each reader, body and hour. The error wraps ledger.ErrErased, ledger.ErrNotFound, or is the log's; nothing
// is returned that could not be recorded.
func (c *Custody) Read(ctx context.Context, digest ledger.Hash, reader string) ([]byte, error) {
	v, err := c.Log.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if _, gone, err := c.erased(v, digest); err != nil || gone {
		if err == nil {
			err = fmt.Errorf("custody: %w", ledger.ErrErased)
		}
		return nil, err
	}
	body, err := v.Body(digest)
	if err != nil {
		return nil, err
	}
	if err := c.record(ctx, access{digest, reader}); err != nil {
		return nil, err
	}
	return body, nil
}

// record logs an access unless the hour has one already.
func (c *Custody) record(ctx context.Context, a access) error {
	at := c.Now()
	if c.remembers(a, at) {
		return nil
	}
	subject, err := ledger.Subject(c.Issuer, ledger.SubjectExports, "access-"+at.UTC().Format("20060102"))
	if err != nil {
		return err
	}
	entry, err := c.evidence(ctx, subject, evidence.ContentAccess, at, evidence.Access{Kind: evidence.AccessRead,
		By: a.reader, Digests: []mission.Digest{mission.DigestOf(a.digest)}, At: mission.FormatTime(at),
		Salt: mission.NewSalt()})
	if err != nil {
		return err
	}
	if _, err := c.Log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{entry}}); err != nil {
		return errors.Join(errors.New("custody: the access could not be recorded"), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reads) < maxReads {
		c.reads[a] = struct{}{}
	}
	return nil
}

// remembers reports whether the hour of at has a record of a.
func (c *Custody) remembers(a access, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hour := at.Truncate(time.Hour); !hour.Equal(c.hour) {
		c.hour = hour
		clear(c.reads)
	}
	_, ok := c.reads[a]
	return ok
}
