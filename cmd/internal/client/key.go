package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/mission/jws"
)

// A JWK is an EC key on P-256 (RFC 7518 6.2); D is absent in the public form.
type JWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	D   string `json:"d,omitempty"`
	Kid string `json:"kid"`
	Alg string `json:"alg"`
	Use string `json:"use"`
}

// Public is k without its private part.
func (k JWK) Public() JWK {
	k.D = ""
	return k
}

// GenerateKey makes a fresh ES256 key. Its kid is its RFC 7638 thumbprint.
func GenerateKey() (JWK, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return JWK{}, err
	}
	point, err := private.PublicKey.Bytes() // 4 || x || y
	if err != nil {
		return JWK{}, err
	}
	d, err := private.Bytes()
	if err != nil {
		return JWK{}, err
	}
	k := JWK{Kty: "EC", Crv: "P-256", Alg: "ES256", Use: "sig",
		X: encode(point[1:33]), Y: encode(point[33:]), D: encode(d)}
	k.Kid, err = jws.Thumbprint(&private.PublicKey)
	return k, err
}

// Signer makes the private key k usable.
func (k JWK) Signer() (jws.Signer, error) {
	private, err := k.Private()
	if err != nil {
		return nil, err
	}
	return jws.NewKey(k.Kid, private)
}

// Private is the private key k, for signatures that are not JWS.
func (k JWK) Private() (*ecdsa.PrivateKey, error) {
	d, err := base64.RawURLEncoding.DecodeString(k.D)
	if err != nil || k.Kty != "EC" || k.Crv != "P-256" || k.Kid == "" {
		return nil, errors.New("client key: want a private EC JWK on P-256 with a kid")
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		return nil, fmt.Errorf("client key: %w", err)
	}
	return private, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
