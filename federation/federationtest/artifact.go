package federationtest

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Compact signs claims with a key of the test's choice.
func Compact(t testing.TB, key jws.Signer, typ jws.Typ, claims any) string {
	t.Helper()
	payload, err := mission.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.Sign(t.Context(), key, typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Projection is a projection of a Mission of d for the peer, valid at `at` for a minute, over these entries. Change it
// before you sign it with Compact; Projection.Sign would refuse some of what a hostile peer signs.
func (d *Domain) Projection(t testing.TB, ref mission.AgreementRef, aud string, h federation.Holder, nonce string,
	at time.Time, entries ...mission.Entry) *federation.Projection {
	t.Helper()
	p := &federation.Projection{
		Iss: d.Issuer, Aud: aud, IssuedAt: at.Unix(), ExpiresAt: at.Unix() + 60, JTI: federation.NewNonce(),
		ClientID: h.ClientID, Confirmation: federation.Confirmation{JKT: h.JKT}, Nonce: nonce,
		Mission: federation.ProjectedMission{
			ID: mission.NewMissionID(), Issuer: d.Issuer, AuthorityHash: mission.RawDigest([]byte("authority")),
			State: mission.Active, Version: 1,
			ExpiresAt:  mission.FormatTime(at.Add(time.Hour)),
			FreshUntil: mission.FormatTime(at.Add(30 * time.Second)),
		},
		AuthorizationDetails: RawOf(t, entries),
		Subject:              &mission.Principal{Iss: d.Issuer, Sub: "pairwise-1"},
		Agreement:            ref,
		Delegation: []federation.Hop{{Issuer: d.Issuer, Commitment: mission.RawDigest([]byte("root")),
			Basis: mission.BasisDirect, ApprovedOn: mission.FormatTime(at)[:10]}},
		AuthoritySalt: mission.NewSalt(),
	}
	p.AuthorityCommitment = Commit(t, p)
	return p
}

// Commit is the authority_commitment of a projection as it stands.
func Commit(t testing.TB, p *federation.Projection) mission.Digest {
	t.Helper()
	d, err := federation.CommitAuthority(p.Iss, p.Aud, p.AuthoritySalt, p.AuthorizationDetails)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Append commits a statement of d over body and returns its entry with the leaf index.
func (d *Domain) Append(t testing.TB, subject, contentType string, body []byte) (statement []byte, index uint64) {
	t.Helper()
	statement, err := ledger.SignStatement(t.Context(), ledger.Claims{
		Issuer: d.Issuer, Subject: subject, ContentType: contentType, Digest: Digest(body),
	}, d.Log.Keys.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	done := d.Log.MustCommit(t, ledger.Change{Entries: []ledger.Entry{{Statement: statement, Body: body}}})
	return statement, done.Results[0].Index
}

// Receipt proves an entry of d's log.
func (d *Domain) Receipt(t testing.TB, index uint64) []byte {
	t.Helper()
	v := d.Log.MustView(t)
	entry, err := v.Entry(index)
	if err != nil {
		t.Fatal(err)
	}
	st, err := ledger.ParseStatement(entry.Statement)
	if err != nil {
		t.Fatal(err)
	}
	head := v.Head()
	path, err := v.Inclusion(index, head.Size)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ledger.SignReceipt(t.Context(), ledger.ReceiptClaims{
		Issuer: d.Issuer, Subject: st.Subject, IssuedAt: entry.At.Unix(),
	}, ledger.Inclusion{Size: head.Size, Index: index, Path: path}, head.Root, d.Log.Keys.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Transparent attaches receipts to a statement, whatever they are receipts of.
func Transparent(t testing.TB, statement []byte, receipts ...[]byte) []byte {
	t.Helper()
	b, err := ledger.AttachReceipts(statement, receipts...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Checkpoint is the newest checkpoint of d's log.
func (d *Domain) Checkpoint(t testing.TB) string {
	t.Helper()
	return string(d.Log.MustView(t).Checkpoint())
}
