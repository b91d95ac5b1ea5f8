package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/mission-authority/mas/ledger"
)

// InstallAnchors makes the keys in want those that the log's admission rests on, if they are not. It is for keys that
// administrators have changed where they are kept (want.OrderedBy), before the service signs with them. signer returns
// the key to sign with, one of those that the log admits now. Of want.Order nothing but OrderedBy counts.
func InstallAnchors(ctx context.Context, log ledger.Log, want ledger.TrustAnchors, at int64,
	signer func(admitted ledger.KeySet) (ledger.Signer, error)) error {
	view, err := log.View()
	if err != nil {
		return fmt.Errorf("registry: reading the policy: %w", err)
	}
	defer view.Close()
	admission, _, err := Governed(view)
	if err != nil {
		return err
	}
	now := admission.Anchors()
	if slices.Equal(slices.Sorted(slices.Values(now.LogKeys)), slices.Sorted(slices.Values(want.LogKeys))) &&
		sameKeys(now.ReceiptKeys, want.ReceiptKeys) && sameKeys(now.EvidenceKeys, want.EvidenceKeys) {
		return nil
	}
	number, digest := admission.AnchorsInForce()
	want.Issuer, want.Number, want.Previous = admission.Genesis().Issuer, number+1, digest
	body, err := ledger.MarshalTrustAnchors(&want)
	if err != nil {
		return err
	}
	subject, err := ledger.Subject(want.Issuer, ledger.SubjectPolicy, "")
	if err != nil {
		return err
	}
	key, err := signer(now.EvidenceKeys)
	if err != nil {
		return err
	}
	raw, err := ledger.SignStatement(ctx, ledger.Claims{Issuer: want.Issuer, Subject: subject, IssuedAt: at,
		ContentType: ledger.ContentTypeAnchors, Digest: sha256.Sum256(body)}, key)
	if err != nil {
		return fmt.Errorf("registry: signing trust anchors: %w", err)
	}
	statement, err := ledger.ParseStatement(raw)
	if err != nil {
		return err
	}
	if _, err := admission.Next(statement, body); err != nil {
		return fmt.Errorf("registry: trust anchors: %w", err)
	}
	fence := policy{Admission: admission}
	if row, err := view.Get(policyRow); err == nil {
		fence.version = row.Version
	} else if !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("registry: reading the policy row: %w", err)
	}
	_, err = log.Commit(ctx, ledger.Change{
		Expect:  []ledger.Precondition{fence.fence()},
		Put:     []ledger.Record{{Key: policyRow, Value: statement.Digest[:], JustifiedBy: 0}},
		Entries: []ledger.Entry{{Statement: raw, Body: body}},
	})
	if err != nil {
		return fmt.Errorf("registry: trust anchors: %w", err)
	}
	return nil
}

// sameKeys compares two sets, whatever their order.
func sameKeys(a, b ledger.KeySet) bool {
	in := func(k ledger.Key, set ledger.KeySet) bool {
		return slices.ContainsFunc(set, func(o ledger.Key) bool { return bytes.Equal(o.ID, k.ID) })
	}
	return len(a) == len(b) && !slices.ContainsFunc(a, func(k ledger.Key) bool { return !in(k, b) })
}
