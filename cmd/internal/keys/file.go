package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
)

var stepGenerate = durable.Register("keys.generate", "a directory of fresh keys is there complete")

// RootSize is the size of the vault's root key in octets.
const RootSize = 32

// maxFile is the largest key file that is read.
const maxFile = 16 << 10

// readPrivate reads a regular file that only its owner can read or write.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, want 0600 or stricter", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d octets", path, maxFile)
	}
	return data, nil
}

// loadSigning opens the key in a PEM file, which is encrypted exactly if there is a passphrase.
func loadSigning(path string, passphrase []byte) (signature.Signer, crypto.PublicKey, error) {
	private, err := readPEM(path, passphrase)
	if err != nil {
		return nil, nil, err
	}
	key, ok := private.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("unsupported key type %T", private)
	}
	signer, err := newLocal(key)
	return signer, key.Public(), err
}

// newLocal returns the signer of a key in memory.
func newLocal(private crypto.Signer) (signature.Signer, error) {
	switch private.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		return nil, fmt.Errorf("unsupported key type %T", private)
	}
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("loading the signer: %w", err)
	}
	return signer, nil
}

// readPEM reads a PEM file with one private key.
func readPEM(path string, passphrase []byte) (crypto.PrivateKey, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("want exactly one PEM block")
	}
	switch block.Type {
	case string(cryptoutils.EncryptedSigstorePrivateKeyPEMType):
		if passphrase == nil {
			return nil, errors.New("the key is encrypted and there is no passphrase")
		}
	case string(cryptoutils.PrivateKeyPEMType):
		if passphrase != nil {
			return nil, errors.New("the key is not encrypted although there is a passphrase")
		}
	default:
		return nil, fmt.Errorf("unsupported PEM block %q", block.Type)
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(data, cryptoutils.StaticPasswordFunc(passphrase))
	if err != nil {
		return nil, fmt.Errorf("reading the PEM block: %w", err)
	}
	if passphrase == nil { // encryption authenticates what it hides
		if err := checkEncoding(private, block.Bytes); err != nil {
			return nil, err
		}
	}
	return private, nil
}

// checkEncoding refuses a key that is not what its file says octet for octet. An EC key carries its public key beside
// the private one, and parsers ignore it: a flipped bit in either would otherwise be another key, and sign as that.
func checkEncoding(private crypto.PrivateKey, der []byte) error {
	again, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encoding the key again: %w", err)
	}
	if !bytes.Equal(again, der) {
		return errors.New("the file is damaged, or not canonical PKCS #8 with the public key in it")
	}
	return nil
}

// rootPEM is the type of the PEM block of an encrypted root key: the 64 digits, sealed as sigstore seals private keys
// (scrypt and secretbox).
const rootPEM = "ENCRYPTED MAS ROOT KEY"

// loadRoot reads the root key: 64 hexadecimal digits in lower case and a line feed, or a PEM block with them
// encrypted.
func loadRoot(path string, passphrase []byte) (root [RootSize]byte, err error) {
	data, err := readPrivate(path)
	if err != nil {
		return root, err
	}
	if block, rest := pem.Decode(data); block != nil {
		switch {
		case block.Type != rootPEM || len(strings.TrimSpace(string(rest))) > 0:
			return root, fmt.Errorf("want one PEM block of type %q", rootPEM)
		case passphrase == nil:
			return root, errors.New("the key is encrypted and there is no passphrase")
		}
		if data, err = encrypted.Decrypt(block.Bytes, passphrase); err != nil {
			return root, fmt.Errorf("reading the PEM block: %w", err)
		}
	}
	text := strings.TrimSuffix(string(data), "\n")
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != RootSize || text != strings.ToLower(text) {
		return root, fmt.Errorf("want %d hexadecimal digits in lower case", 2*RootSize)
	}
	copy(root[:], raw)
	if root == [RootSize]byte{} {
		return root, errors.New("the key is zero")
	}
	return root, nil
}

// generateRoot returns a fresh root key as a file.
func generateRoot(passphrase []byte) ([]byte, error) {
	var root [RootSize]byte
	rand.Read(root[:])
	text := []byte(hex.EncodeToString(root[:]) + "\n")
	if passphrase == nil {
		return text, nil
	}
	sealed, err := encrypted.Encrypt(text, passphrase)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: rootPEM, Bytes: sealed}), nil
}

// RefsIn names the key files of a directory made by Generate. One that an earlier version made has no witness key.
func RefsIn(dir string) Refs {
	refs := refsIn(dir)
	if _, err := os.Lstat(refs.Signing[Witness]); errors.Is(err, fs.ErrNotExist) {
		delete(refs.Signing, Witness)
	}
	return refs
}

// refsIn names the key files that Generate makes.
func refsIn(dir string) Refs {
	refs := Refs{Signing: make(map[Role]string), Root: filepath.Join(dir, "root.key")}
	for _, role := range Roles() {
		refs.Signing[role] = filepath.Join(dir, string(role)+".pem")
	}
	return refs
}

// Generate creates the directory dir with a fresh key for every role, encrypted if there is a passphrase. The
// directory appears complete or not at all; one that exists is never touched (fs.ErrExist).
func Generate(dir string, passphrase []byte) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("keys: %s: %w", dir, fs.ErrExist)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, ".keys-")
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	defer os.RemoveAll(fresh)
	if err := fill(refsIn(fresh), passphrase); err != nil {
		return err
	}
	err = stepGenerate.Do(func() error {
		return errors.Join(syncDir(fresh), os.Rename(fresh, dir), syncDir(parent))
	})
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}

// fill writes every file of refs.
func fill(refs Refs, passphrase []byte) error {
	for _, role := range Roles() {
		text, err := generatePEM(role, passphrase)
		if err == nil {
			err = writePrivate(refs.Signing[role], text)
		}
		if err != nil {
			return fmt.Errorf("keys: generating %s: %w", role, err)
		}
	}
	root, err := generateRoot(passphrase)
	if err == nil {
		err = writePrivate(refs.Root, root)
	}
	if err != nil {
		return fmt.Errorf("keys: generating root: %w", err)
	}
	return nil
}

// generatePEM returns a fresh key for the role.
func generatePEM(role Role, passphrase []byte) ([]byte, error) {
	private, err := newPrivate(role)
	if err != nil {
		return nil, err
	}
	return encodePEM(private, passphrase)
}

// encodePEM writes a private key, encrypted if there is a passphrase.
func encodePEM(private crypto.PrivateKey, passphrase []byte) ([]byte, error) {
	if passphrase == nil {
		return cryptoutils.MarshalPrivateKeyToPEM(private)
	}
	sealed, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(private, cryptoutils.StaticPasswordFunc(passphrase))
	if err != nil {
		return nil, err
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, sealed), nil
}

func newPrivate(role Role) (crypto.PrivateKey, error) {
	if role.algorithm() == ledger.AlgEdDSA {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// writePrivate creates a file of mode 0600 and flushes it.
func writePrivate(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

var stepFile = durable.Register("keys.file", "a fresh key is in a file of its own")

// GenerateOne writes a fresh key for the role into the directory dir and returns its path. The name comes from the
// key, so a file that an interrupted attempt left behind is never in the way, and never used.
func GenerateOne(dir string, role Role, passphrase []byte) (string, error) {
	private, err := newPrivate(role)
	if err != nil {
		return "", fmt.Errorf("keys: %s: %w", role, err)
	}
	kid, err := ledger.KeyThumbprint(private.(crypto.Signer).Public())
	if err != nil {
		return "", fmt.Errorf("keys: %s: %w", role, err)
	}
	text, err := encodePEM(private, passphrase)
	if err != nil {
		return "", fmt.Errorf("keys: %s: %w", role, err)
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%x.pem", role, kid[:4]))
	if err := stepFile.Do(func() error { return errors.Join(writePrivate(path, text), syncDir(dir)) }); err != nil {
		return "", fmt.Errorf("keys: %s: %w", role, err)
	}
	return path, nil
}

// OpenNew opens a key that is to replace another one of its role.
func OpenNew(role Role, ref string, passphrase []byte) (*Key, error) {
	k, err := openKey(role, ref, passphrase, nil)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", role, err)
	}
	return k, nil
}
