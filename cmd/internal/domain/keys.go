package domain

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
)

// keepRing writes the key ring of a server that had none. From then on a key that changes without an order is noticed.
func (d *Domain) keepRing() error {
	kept, err := keys.ReadRing(d.o.Config.Keys.Ring)
	if err != nil {
		return err
	}
	if ring := d.Keys.Ring(); kept == nil || kept.Version < ring.Version {
		return keys.WriteRing(d.o.Config.Keys.Ring, ring)
	}
	return nil
}

// horizon is the instant before which retired keys are no longer published.
func (d *Domain) horizon() int64 {
	return d.o.Now().AddDate(0, 0, -d.o.Config.Keys.AuditHorizon).Unix()
}

// recordKeys brings the log up to date with the key ring before anything else is signed: the keys that the log's
// admission rests on, then every succession and key status that the log does not hold yet. It can be broken off
// anywhere and done again. With a latch closed nothing is written, and nothing positive will be signed either.
func (d *Domain) recordKeys(ctx context.Context) error {
	ring := d.Keys.Ring()
	if h := d.Log.Health(); len(ring.Statements) == 0 || h.Integrity != nil || h.Write != nil {
		return nil
	}
	if err := d.recordAnchors(ctx); err != nil {
		return fmt.Errorf("recording the keys of the log: %w", err)
	}
	subject, err := ledger.Subject(d.o.Config.Issuer, ledger.SubjectLog, "")
	if err != nil {
		return err
	}
	for _, document := range ring.Statements {
		held, err := d.holds(document.Body)
		if err != nil {
			return err
		}
		if held {
			continue
		}
		statement, err := ledger.SignStatement(ctx, ledger.Claims{Issuer: d.o.Config.Issuer, Subject: subject,
			IssuedAt: d.o.Now().Unix(), ContentType: document.ContentType, Digest: sha256.Sum256(document.Body),
		}, d.Keys.Key(keys.Evidence).COSE())
		if err != nil {
			return err
		}
		committed, err := d.Log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{{Statement: statement, Body: document.Body}}})
		if err != nil {
			return fmt.Errorf("recording the key ring in the log: %w", err)
		}
		d.o.Logger.Info("key document recorded", slog.String("content_type", document.ContentType),
			slog.Uint64("index", committed.Results[0].Index))
	}
	return nil
}

// holds reports whether the log has committed to a body.
func (d *Domain) holds(body []byte) (bool, error) {
	view, err := d.Log.View()
	if err != nil {
		return false, err
	}
	defer view.Close()
	switch _, err := view.Body(sha256.Sum256(body)); {
	case err == nil, errors.Is(err, ledger.ErrErased):
		return true, nil
	case errors.Is(err, ledger.ErrNotFound):
		return false, nil
	default:
		return false, err
	}
}

// recordAnchors makes the keys of the ring those that the log's admission rests on. A new evidence key is admitted by
// a statement under a key that was admitted before.
func (d *Domain) recordAnchors(ctx context.Context) error {
	origin, ring := d.o.Config.LogOrigin(), d.Keys.Ring()
	want := ledger.TrustAnchors{Order: ledger.Order{OrderedBy: ring.OrderedBy}}
	var err error
	if want.LogKeys, err = d.Keys.LogKeys(origin); err != nil {
		return err
	}
	const none = 1<<63 - 1 // since then no key has been retired
	if want.ReceiptKeys, err = d.Keys.COSE(keys.Receipts, none); err != nil {
		return err
	}
	if want.EvidenceKeys, err = d.Keys.COSE(keys.Evidence, none); err != nil {
		return err
	}
	return registry.InstallAnchors(ctx, d.Log, want, d.o.Now().Unix(), func(admitted ledger.KeySet) (ledger.Signer, error) {
		active := d.Keys.Key(keys.Evidence).COSE()
		if _, ok := admitted.Find(active.KeyID()); ok {
			return active, nil
		}
		var broken error
		for _, k := range admitted {
			signer, err := d.Keys.Signer(keys.Evidence, k.ID)
			if err == nil {
				return signer, nil
			}
			broken = errors.Join(broken, err)
		}
		return nil, fmt.Errorf("no key that the log admits can be opened: %w", broken)
	})
}

// keyStatusAge is how long one signature of the key status is handed out.
const keyStatusAge = 5 * time.Minute

// A signedStatus is a key status as it is served.
type signedStatus struct {
	at   time.Time
	body []byte
}

// keyStatus signs the status of all keys with the governance key, at most every few minutes.
func (d *Domain) keyStatus(ctx context.Context) ([]byte, error) {
	now := d.o.Now()
	d.statusMu.Lock()
	defer d.statusMu.Unlock()
	if age := now.Sub(d.status.at); d.status.body != nil && age >= 0 && age < keyStatusAge {
		return d.status.body, nil
	}
	document, err := d.Keys.Ring().KeyStatus(d.o.Config.Issuer, d.o.Config.LogOrigin())
	if err != nil {
		return nil, err
	}
	body, err := ledger.SignKeyStatus(ctx, document, now, d.Keys.Key(keys.Governance).COSE())
	if err != nil {
		return nil, err
	}
	d.status = signedStatus{at: now, body: body}
	return body, nil
}
