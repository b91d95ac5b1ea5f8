package domain

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
)

// genesis makes entry 0 of a new log: what the log is, whose keys it trusts, and that only this issuer's evidence key
// registers statements, and in a development directory its local producers' keys. A log that exists keeps the entry it
// has.
func (d *Domain) genesis(ctx context.Context) (*ledger.Entry, error) {
	c := d.o.Config
	predecessor, err := d.predecessor()
	if err != nil {
		return nil, err
	}
	producers := []ledger.Producer{{Issuer: c.Issuer, Key: d.Keys.Key(keys.Evidence).PublicCOSE()[0],
		Types: []string{ledger.AnyType}}}
	if d.o.DevDir != "" && c.Loopback() {
		local, err := devProducers(d.o.DevDir)
		if err != nil {
			return nil, err
		}
		producers = append(producers, local...)
	}
	body, err := ledger.MarshalGenesis(&ledger.Genesis{
		Predecessor: predecessor,
		Format:      1, Origin: c.LogOrigin(), Issuer: c.Issuer, LogKey: d.VKey,
		ReceiptKeys: d.Keys.Key(keys.Receipts).PublicCOSE(),
		Producers:   producers,
	})
	if err != nil {
		return nil, err
	}
	subject, err := ledger.Subject(c.Issuer, ledger.SubjectLog, "")
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	statement, err := ledger.SignStatement(ctx, ledger.Claims{
		Issuer: c.Issuer, Subject: subject, IssuedAt: d.o.Now().Unix(), ContentType: ledger.ContentTypeGenesis,
		Digest: sha256.Sum256(body),
	}, d.Keys.Key(keys.Evidence).COSE())
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return &ledger.Entry{Statement: statement, Body: body}, nil
}
