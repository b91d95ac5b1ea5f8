// Package jws signs and checks the compact JWS of this system: canonical base64url, a protected header of exactly alg,
// kid and typ, one exact typ per artifact, ES256 or EdDSA (Ed25519), keys from pinned sets.
//
// It makes the checks that the library beneath does not: a second spelling of a valid token is refused, so a digest
// over the compact form names one artifact. It is pure and knows no claims except those of a status response.
package jws
