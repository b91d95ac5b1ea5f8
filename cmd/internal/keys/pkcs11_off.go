//go:build !pkcs11

package keys

import (
	"crypto"
	"errors"
)

// openToken: PKCS #11 needs cgo and loads a library of the token's maker into the process; both are for those who ask.
func openToken(Role, *tokenReference) (remoteSigner, crypto.PublicKey, error) {
	return nil, nil, errors.New("this binary was built without PKCS #11: build it with CGO_ENABLED=1 and -tags pkcs11")
}
