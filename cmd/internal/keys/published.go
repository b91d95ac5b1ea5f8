package keys

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
)

// What a server publishes of its keys: for each role the one that signs, the next one, and the retired ones until the
// audit horizon has passed. since is the beginning of the horizon, in seconds since the epoch.

// JWKS is the public keys of a role as a JWK Set, as JOSE names them.
func (s *Set) JWKS(role Role, since int64) (*jws.KeySet, error) {
	set := make(map[string]crypto.PublicKey)
	for _, public := range s.ring.Public(role, since) {
		kid, err := jws.Thumbprint(public)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", role, err)
		}
		set[kid] = public
	}
	return jws.NewKeySet(set)
}

// StatementJWKS is the public keys of a role as a JWK Set whose kids are those that statements carry.
func (s *Set) StatementJWKS(role Role, since int64) (*jws.KeySet, error) {
	set := make(map[string]crypto.PublicKey)
	for _, public := range s.ring.Public(role, since) {
		kid, err := ledger.KeyThumbprint(public)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", role, err)
		}
		set[base64.RawURLEncoding.EncodeToString(kid)] = public
	}
	return jws.NewKeySet(set)
}

// COSE is the public keys of a role as a COSE Key Set, the active key first.
func (s *Set) COSE(role Role, since int64) (ledger.KeySet, error) {
	var set ledger.KeySet
	for _, public := range s.ring.Public(role, since) {
		k, err := ledger.NewKey(public)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", role, err)
		}
		set = append(set, k)
	}
	return set, nil
}

// LogKeys are the verifier keys of a log's checkpoints: the keys that sign now, the active one first.
func (s *Set) LogKeys(origin string) (vkeys []string, err error) {
	for _, status := range []Status{Active, Next} {
		if e := s.ring.find(Checkpoint, status); e != nil {
			vkey, err := note.NewEd25519VerifierKey(origin, e.Public.(ed25519.PublicKey))
			if err != nil {
				return nil, fmt.Errorf("keys: %w", err)
			}
			vkeys = append(vkeys, vkey)
		}
	}
	return vkeys, nil
}

// LogSigners sign the checkpoints of a log: the active key, and in an overlap the next one too.
func (s *Set) LogSigners(origin string) (active note.Signer, overlap []note.Signer, err error) {
	if active, _, err = s.Key(Checkpoint).Note(origin); err != nil {
		return nil, nil, err
	}
	if next := s.Next(Checkpoint); next != nil {
		signer, _, err := next.Note(origin)
		if err != nil {
			return nil, nil, err
		}
		overlap = append(overlap, signer)
	}
	return active, overlap, nil
}

// LogVerifiers verify the checkpoints in the store of a log: every key that it ever had.
func (s *Set) LogVerifiers(origin string) (list []note.Verifier, err error) {
	for _, public := range s.ring.All(Checkpoint) {
		vkey, err := note.NewEd25519VerifierKey(origin, public.(ed25519.PublicKey))
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		list = append(list, v)
	}
	return list, nil
}

// LogKeyOf is the verifier key of the oldest key that signed a checkpoint: that of a log that ended before its key was
// replaced.
func (s *Set) LogKeyOf(origin string, checkpoint []byte) (string, error) {
	for _, public := range s.ring.All(Checkpoint) {
		vkey, err := note.NewEd25519VerifierKey(origin, public.(ed25519.PublicKey))
		if err != nil {
			return "", fmt.Errorf("keys: %w", err)
		}
		if _, err := ledger.OpenCheckpointBy(checkpoint, origin, vkey); err == nil {
			return vkey, nil
		}
	}
	return "", fmt.Errorf("keys: no key of %s signed the checkpoint", origin)
}

// Signer opens the key of a role with this thumbprint, whatever has become of it. It is for the one statement that
// hands the log over to another key; everything else is signed by Key.
func (s *Set) Signer(role Role, kid []byte) (ledger.Signer, error) {
	for _, k := range []*Key{s.keys[role], s.next[role]} {
		if k != nil && bytes.Equal(k.thumbprint, kid) {
			return k.COSE(), nil
		}
	}
	e, ok := s.ring.Find(kid)
	if !ok || e.Role != role {
		return nil, errors.New("keys: no such key in the key ring")
	}
	k, err := s.open(e)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", role, err)
	}
	return k.COSE(), nil
}
