// Package jws signs and checks the compact JWS of this system: canonical base64url, a protected header of exactly alg,
// kid and typ, one exact typ per artifact, ES256 or EdDSA (Ed25519), keys from pinned sets.
//
// It makes the checks that the library beneath does not: a second spelling of a valid token is refused, so a digest
// over the compact form does not change with the spelling. (An ES256 signature still has a second valid value that
// anyone can compute: never recognise a replay by such a digest, but by the artifact's own jti or nonce.)
//
// The package is pure and knows no claims except those of a status response, whose checks it completes.
package jws
