package domain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// Files of a peer's directory below peers_dir.
const (
	peerFile      = "peer.json"
	agreementFile = "agreement.json"
	annexFile     = "annex.json"
)

// A Side is one of two development directories that are to federate.
type Side struct {
	Name   string // of its directory in the other's peers directory, and of its principal there
	Dir    string
	Config *config.Config
	Annex  federation.Annex // what this side decides alone; Issuer is filled in
}

// Federate makes two development directories peers of each other, as two administrators with their governance keys
// would after comparing thumbprints: terms, completed with both parties, are signed by both sides; each gets the peer
// record, the agreement and its annex, and a principal for the other. Both logs exist afterwards: an agreement names
// their genesis.
func Federate(ctx context.Context, a, b Side, terms federation.Agreement) (*federation.SignedAgreement, error) {
	sides := []Side{a, b}
	signers := make([]jws.Signer, 2)
	peers := make([]*federation.Peer, 2)
	for i, s := range sides {
		party, peer, signer, err := s.describe(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		terms.Parties = append(terms.Parties, *party)
		peers[i], signers[i] = peer, signer
	}
	slices.SortFunc(terms.Parties, func(x, y federation.Party) int { return strings.Compare(x.Issuer, y.Issuer) })
	signed := &federation.SignedAgreement{Agreement: terms}
	for i, s := range sides {
		signature, err := federation.SignAgreement(ctx, &terms, s.Config.Issuer, signers[i])
		if err != nil {
			return nil, err
		}
		signed.Signatures = append(signed.Signatures, signature)
	}
	for i, s := range sides {
		other := sides[1-i]
		if err := s.enter(other, *peers[1-i], signed); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return signed, nil
}

// describe opens the side's domain, which makes its log, and says what the agreement and the peer record need to know.
func (s Side) describe(ctx context.Context) (*federation.Party, *federation.Peer, jws.Signer, error) {
	d, err := Open(ctx, Options{Config: s.Config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, nil, err
	}
	party, peer, signer, err := d.describe()
	return party, peer, signer, errors.Join(err, d.Close())
}

func (d *Domain) describe() (*federation.Party, *federation.Peer, jws.Signer, error) {
	governance, err := d.Keys.Key(keys.Governance).JOSE()
	if err != nil {
		return nil, nil, nil, err
	}
	governanceJWK, err := raw(jws.MarshalPublicKey(governance.KeyID(), d.Keys.Key(keys.Governance).Public()))
	if err != nil {
		return nil, nil, nil, err
	}
	issuer, err := d.Keys.Key(keys.Issuer).PublicJWKS()
	if err != nil {
		return nil, nil, nil, err
	}
	jwks, err := raw(issuer.Marshal())
	if err != nil {
		return nil, nil, nil, err
	}
	genesis, err := d.genesisID()
	if err != nil {
		return nil, nil, nil, err
	}
	c := d.o.Config
	log := federation.Log{Origin: c.LogOrigin(), VKey: d.VKey, Genesis: genesis}
	party := &federation.Party{
		Issuer: c.Issuer, Nonce: federation.NewNonce(), GovernanceKey: governanceJWK, IssuerKeys: issuer.KeyIDs(),
		Log: log, Roles: []string{federation.RoleOrigin, federation.RoleReceiver},
		Contacts: []string{"federation@" + strings.NewReplacer(":", "-").Replace(host(c.Issuer))},
	}
	peer := &federation.Peer{
		Issuer: c.Issuer, Status: federation.PeerActive, GovernanceKey: governance.KeyID(), JWKS: jwks, Log: log,
		Hosts: []string{host(c.Issuer)}, AllowPrivate: c.Loopback(),
	}
	for _, k := range []struct {
		role   keys.Role
		names  *[]string
		record *string
	}{{keys.Evidence, &party.EvidenceKeys, &peer.EvidenceKeys}, {keys.Receipts, &party.ReceiptKeys, &peer.ReceiptKeys}} {
		thumbprint, err := ledger.KeyThumbprint(d.Keys.Key(k.role).Public())
		if err != nil {
			return nil, nil, nil, err
		}
		*k.names = []string{base64.RawURLEncoding.EncodeToString(thumbprint)}
		if *k.record, err = federation.EncodeKeys(d.Keys.Key(k.role).PublicCOSE()); err != nil {
			return nil, nil, nil, err
		}
	}
	return party, peer, governance, nil
}

// raw keeps JSON as a member of a document.
func raw(text []byte, err error) (mission.Raw, error) {
	if err != nil {
		return mission.Raw{}, err
	}
	return mission.ParseRaw(text)
}

// genesisID is the entry id of index 0.
func (d *Domain) genesisID() (string, error) {
	v, err := d.Log.View()
	if err != nil {
		return "", err
	}
	defer v.Close()
	e, err := v.Entry(0)
	if err != nil {
		return "", err
	}
	return ledger.EntryID(ledger.HashLeaf(e.Statement)), nil
}

// enter writes what this side keeps about the other.
func (s Side) enter(other Side, record federation.Peer, signed *federation.SignedAgreement) error {
	record.ClientID, record.OwnClientID = other.Name, s.Name
	s.Annex.Issuer = other.Config.Issuer
	dir := filepath.Join(s.Config.PeersDir, other.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, value := range map[string]any{peerFile: &record, agreementFile: signed, annexFile: &s.Annex} {
		if err := writeJSON(filepath.Join(dir, name), value); err != nil {
			return err
		}
	}
	return addPrincipal(s.Config.Principals, authority.Registration{
		ID: other.Name, Kind: authority.KindService, ClientID: other.Name, JWKS: record.JWKS,
		Roles: []authority.Role{authority.RolePeer}, Audiences: []string{other.Config.Issuer},
	})
}

// addPrincipal appends one principal to a principals file.
func addPrincipal(path string, p authority.Registration) error {
	return editPrincipals(path, func(all []authority.Registration) []authority.Registration { return append(all, p) })
}

// SetAudiences changes for whom a local principal of a development directory may read status.
func SetAudiences(dir, id string, audiences ...string) error {
	return editPrincipals(filepath.Join(dir, principalsFile), func(all []authority.Registration) []authority.Registration {
		for i := range all {
			if all[i].ID == id {
				all[i].Audiences = audiences
			}
		}
		return all
	})
}

func editPrincipals(path string, edit func([]authority.Registration) []authority.Registration) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var all []authority.Registration
	if err := mission.Decode(text, &all); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writeJSON(path, edit(all))
}

// host is the host and port of an issuer identifier.
func host(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer
	}
	return u.Host
}
