package keys

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The schemes of key references. Everything else that looks like a URI is refused before the signing library sees it:
// that library runs a program named after a scheme it does not know.
const (
	schemeVault   = "hashivault"
	schemeOpenBao = "openbao"
	schemePKCS11  = "pkcs11"
)

// maxReference is the longest key reference, in octets.
const maxReference = 1024

// uriScheme matches what is not a file path.
var uriScheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):`)

// Errors of references.
var (
	errNoReference = errors.New("no key reference")
	errPath        = errors.New("must be a file path")
	errScheme      = errors.New("must be a file path, hashivault://KEY?version=N, openbao://KEY?version=N or pkcs11:…")
)

// A reference says where a private key is. Exactly one of its fields is set.
type reference struct {
	path  string
	vault *vaultReference
	token *tokenReference
}

// A vaultReference names one version of a key of a Vault Transit engine: hashivault://KEY?version=N, or openbao://…
type vaultReference struct {
	resource string // scheme and key, as the provider reads it
	version  uint64 // from 1
}

// A tokenReference names a key pair on a PKCS #11 token, by a URI of RFC 7512.
type tokenReference struct {
	module    string // absolute path of the token's library
	token     string // label of the token
	serial    string // its serial number; empty: any
	object    string // CKA_LABEL of the key pair; empty: any
	id        []byte // CKA_ID of the key pair; nil: any
	pinSource string // file path, file:PATH or env:NAME
}

// parseReference reads a reference. It opens nothing.
func parseReference(text string) (reference, error) {
	if text == "" {
		return reference{}, errNoReference
	}
	if len(text) > maxReference {
		return reference{}, fmt.Errorf("a key reference of %d octets", len(text))
	}
	scheme := uriScheme.FindStringSubmatch(text)
	if scheme == nil {
		return reference{path: text}, nil
	}
	switch scheme[1] {
	case schemeVault, schemeOpenBao:
		v, err := parseVault(text)
		return reference{vault: v}, err
	case schemePKCS11:
		t, err := parseToken(text)
		return reference{token: t}, err
	}
	return reference{}, errScheme
}

// filePath admits references to files and nothing else.
func filePath(text string) (string, error) {
	ref, err := parseReference(text)
	if err == nil && ref.path == "" || errors.Is(err, errScheme) {
		err = errPath
	}
	return ref.path, err
}

// vaultKey is what the provider accepts as the name of a key.
var vaultKey = regexp.MustCompile(`^(hashivault|openbao)://[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// parseVault reads hashivault://KEY?version=N. The version is required: without it a rotation in Vault would change
// the key under the server.
func parseVault(text string) (*vaultReference, error) {
	resource, query, _ := strings.Cut(text, "?")
	if !vaultKey.MatchString(resource) {
		return nil, errors.New("want hashivault://KEY?version=N, KEY of letters, digits, _ . and -")
	}
	digits, ok := strings.CutPrefix(query, "version=")
	version, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || version == 0 || strconv.FormatUint(version, 10) != digits {
		return nil, errors.New("the reference does not pin a version of the key: add ?version=N")
	}
	return &vaultReference{resource: resource, version: version}, nil
}

// parseToken reads the part of RFC 7512 that names one key pair: token, serial, object and id, with module-path and
// pin-source in the query. An attribute that is not one of these is refused, because ignoring it could pick another
// key; pin-value, because a configuration is no place for a PIN.
func parseToken(text string) (*tokenReference, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(text, schemePKCS11+":"), "//")
	path, query, _ := strings.Cut(rest, "?")
	t := new(tokenReference)
	seen := make(map[string]bool)
	set := func(list, separator string, fields map[string]*string) error {
		for _, attribute := range strings.Split(list, separator) {
			name, value, ok := strings.Cut(attribute, "=")
			field := fields[name]
			if !ok || field == nil || seen[name] {
				return fmt.Errorf("attribute %.40q is not known, or there twice", name)
			}
			seen[name] = true
			plain, err := url.PathUnescape(value)
			if err != nil || plain == "" || name != "id" && strings.ContainsRune(plain, 0) {
				return fmt.Errorf("attribute %s has no usable value", name)
			}
			*field = plain
		}
		return nil
	}
	var id string
	err := set(path, ";", map[string]*string{"token": &t.token, "serial": &t.serial, "object": &t.object, "id": &id})
	if err == nil {
		err = set(query, "&", map[string]*string{"module-path": &t.module, "pin-source": &t.pinSource})
	}
	switch {
	case err != nil:
		return nil, err
	case t.token == "" && t.serial == "":
		return nil, errors.New("the reference names no token")
	case t.object == "" && id == "":
		return nil, errors.New("the reference names no key: want object or id")
	case !filepath.IsAbs(t.module):
		return nil, errors.New("the reference needs module-path, an absolute path")
	case t.pinSource == "":
		return nil, errors.New("the reference needs pin-source, a file of mode 0600 or env:NAME")
	}
	if id != "" {
		t.id = []byte(id)
	}
	return t, nil
}
