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

	"github.com/mission-authority/mas/ledger"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/mission-authority/mas/ledger/durable"
)

var stepGenerate = durable.Register("keys.generate", "a directory of fresh keys is there complete")

// RootSize is the size of the vault's root key in octets.
const RootSize = 32

// maxFile is the largest key file that is read.
const maxFile = 16 << 10

// maxPassphrase is the longest passphrase, in octets.
const maxPassphrase = 1024

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

// ReadPassphrase reads a passphrase file: one line, final line feed ignored, mode 0600.
func ReadPassphrase(path string) ([]byte, error) {
	path, err := filePath(path)
	if err != nil {
		return nil, fmt.Errorf("keys: passphrase: %w", err)
	}
	data, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("keys: passphrase: %w", err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" || len(text) > maxPassphrase || strings.ContainsAny(text, "\r\n\x00") {
		return nil, fmt.Errorf("keys: passphrase: want one line of 1 to %d octets", maxPassphrase)
	}
	return []byte(text), nil
}

// loadSigning reads a PEM file with one private key. The file is encrypted exactly if there is a passphrase.
func loadSigning(role Role, path string, passphrase []byte) (*Key, error) {
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
	return newKey(role, private)
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

// loadRoot reads the root key: 64 hexadecimal digits in lower case and a line feed.
func loadRoot(path string) (root [RootSize]byte, err error) {
	data, err := readPrivate(path)
	if err != nil {
		return root, err
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

// Generate creates the directory dir with a fresh key for every role, encrypted if there is a passphrase. The directory
// appears complete or not at all; one that exists is never touched (fs.ErrExist).
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
	var root [RootSize]byte
	rand.Read(root[:])
	if err := writePrivate(refs.Root, []byte(hex.EncodeToString(root[:])+"\n")); err != nil {
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
