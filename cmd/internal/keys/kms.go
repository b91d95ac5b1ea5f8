package keys

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault" // registers hashivault:// and openbao://
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/mission-authority/mas/ledger"
)

// A remoteSigner signs outside of the process and returns the form that JOSE and COSE share. It need not obey a
// context.
type remoteSigner interface {
	sign(message []byte) ([]byte, error)
}

// Bounds of signing outside of the process.
const (
	remoteTimeout = 10 * time.Second
	remoteCalls   = 32 // of one key at a time, given-up ones included
)

// errOtherKey: a signature came back that the published key does not verify.
var errOtherKey = errors.New("the signature is not by the published key: the key was replaced or rotated where it is kept")

// A remoteKey bounds what a remoteSigner may take. Its libraries know no deadline, so a call that takes too long is
// given up, and goes on holding one of the places until it ends.
type remoteKey struct {
	signer  remoteSigner
	places  chan struct{}
	timeout time.Duration
}

func newRemoteKey(s remoteSigner) *remoteKey {
	return &remoteKey{signer: s, places: make(chan struct{}, remoteCalls), timeout: remoteTimeout}
}

func (r *remoteKey) sign(ctx context.Context, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	select {
	case r.places <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a place: %w", ctx.Err())
	}
	type answer struct {
		sig []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-r.places }()
		sig, err := r.signer.sign(message)
		done <- answer{sig, err}
	}()
	select {
	case a := <-done:
		return a.sig, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// vaultSigner signs with one version of a key of a Vault Transit engine.
type vaultSigner struct {
	sv      kms.SignerVerifier
	version string
	der     bool // signatures come as ASN.1
}

func (s vaultSigner) sign(message []byte) ([]byte, error) {
	sig, err := s.sv.SignMessage(bytes.NewReader(message), options.WithKeyVersion(s.version))
	if err != nil || !s.der {
		return sig, err
	}
	return fixedFromDER(sig)
}

// openVault returns the signer of a key in Vault and its newest public key. Address and token come from the
// environment: VAULT_ADDR and VAULT_TOKEN, or BAO_ADDR and BAO_TOKEN; TRANSIT_SECRET_ENGINE_PATH if the engine is not
// at transit. Without a token the provider would run a helper program from the home directory: it is refused before.
func openVault(role Role, ref *vaultReference) (remoteSigner, crypto.PublicKey, error) {
	address, token := envOf("VAULT_ADDR", "BAO_ADDR"), envOf("VAULT_TOKEN", "BAO_TOKEN")
	if token == "" {
		return nil, nil, errors.New("neither VAULT_TOKEN nor BAO_TOKEN is set")
	}
	if err := checkVaultAddress(address); err != nil {
		return nil, nil, err
	}
	hash := crypto.SHA256
	if role.algorithm() == ledger.AlgEdDSA {
		hash = crypto.Hash(0) // the engine hashes itself
	}
	version := strconv.FormatUint(ref.version, 10)
	sv, err := kms.Get(context.Background(), ref.resource, hash, options.WithKeyVersion(version),
		options.WithRPCAuthOpts(options.RPCAuth{Address: address, Token: token}))
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", ref.resource, err)
	}
	public, err := publicOf(sv)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the public key of %s: %w", ref.resource, err)
	}
	return vaultSigner{sv: sv, version: version, der: role.algorithm() == ledger.AlgES256}, public, nil
}

// publicOf asks for the public key, but not for ever.
func publicOf(sv signature.PublicKeyProvider) (crypto.PublicKey, error) {
	type answer struct {
		key crypto.PublicKey
		err error
	}
	done := make(chan answer, 1)
	go func() {
		key, err := sv.PublicKey()
		done <- answer{key, err}
	}()
	select {
	case a := <-done:
		return a.key, a.err
	case <-time.After(remoteTimeout):
		return nil, errors.New("no answer in time")
	}
}

func envOf(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// checkVaultAddress: a token travels with every request, so only over TLS, or to this machine.
func checkVaultAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return errors.New("VAULT_ADDR (or BAO_ADDR) is not a URL")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && local {
		return nil
	}
	return errors.New("VAULT_ADDR (or BAO_ADDR) must be https, or http on this machine")
}
