package ledger

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// cosignatureType is the signed-note key type of timestamped Ed25519 cosignatures, cosignature/v1.
const cosignatureType = 0x04

const cosignatureSize = 8 + ed25519.SignatureSize // big-endian seconds, then the signature

// A Cosignature is a verified statement by a witness: at this time, this was the largest tree of the log it had seen,
// consistent with all before (https://c2sp.org/tlog-cosignature).
type Cosignature struct {
	Name    string // the witness
	KeyHash uint32
	At      time.Time // asserted by the witness, UTC, whole seconds
}

// CosignatureVKey returns the verifier key of a witness: <name>+<key hash>+<base64 of 0x04 || public key>.
func CosignatureVKey(name string, pub ed25519.PublicKey) (string, error) {
	if err := CheckOrigin(name); err != nil {
		return "", err
	}
	if len(pub) != ed25519.PublicKeySize {
		return "", errKeyType
	}
	key := append([]byte{cosignatureType}, pub...)
	return fmt.Sprintf("%s+%08x+%s", name, noteKeyHash(name, key), base64.StdEncoding.EncodeToString(key)), nil
}

// noteKeyHash is the key id of signed-note keys: the first four octets of SHA-256(name || LF || type || key).
func noteKeyHash(name string, typedKey []byte) uint32 {
	b := append(append([]byte(name), '\n'), typedKey...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint32(sum[:4])
}

// cosigned returns what a cosignature/v1 signs.
func cosigned(text []byte, seconds uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", seconds), text...)
}

// NewCosigner returns a signer that makes cosignatures of a witness for one instant. The key is Ed25519.
func NewCosigner(name string, key crypto.Signer, at time.Time) (note.Signer, error) {
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, errKeyType
	}
	if err := CheckOrigin(name); err != nil {
		return nil, err
	}
	seconds := at.Unix()
	if seconds <= 0 {
		return nil, fmt.Errorf("ledger: cosignature at %d seconds", seconds)
	}
	hash := noteKeyHash(name, append([]byte{cosignatureType}, pub...))
	return &cosigner{name: name, hash: hash, key: key, seconds: uint64(seconds)}, nil
}

type cosigner struct {
	name    string
	hash    uint32
	key     crypto.Signer
	seconds uint64
}

func (s *cosigner) Name() string    { return s.name }
func (s *cosigner) KeyHash() uint32 { return s.hash }

func (s *cosigner) Sign(text []byte) ([]byte, error) {
	if _, err := parseCheckpointText(string(text)); err != nil {
		return nil, err
	}
	sig, err := s.key.Sign(nil, cosigned(text, s.seconds), crypto.Hash(0))
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint64(nil, s.seconds), sig...), nil
}

// NewCosignatureVerifier returns the verifier of a witness key in the form of CosignatureVKey.
func NewCosignatureVerifier(vkey string) (note.Verifier, error) {
	bad := errors.New("ledger: malformed witness key")
	name, rest, _ := strings.Cut(vkey, "+")
	_, key64, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.Strict().DecodeString(key64)
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != cosignatureType {
		return nil, bad
	}
	pub := ed25519.PublicKey(key[1:])
	if canonical, err := CosignatureVKey(name, pub); err != nil || canonical != vkey {
		return nil, bad
	}
	return &cosignatureVerifier{name: name, hash: noteKeyHash(name, key), pub: pub}, nil
}

type cosignatureVerifier struct {
	name string
	hash uint32
	pub  ed25519.PublicKey
}

func (v *cosignatureVerifier) Name() string    { return v.name }
func (v *cosignatureVerifier) KeyHash() uint32 { return v.hash }

func (v *cosignatureVerifier) Verify(text, sig []byte) bool {
	if len(sig) != cosignatureSize {
		return false
	}
	return ed25519.Verify(v.pub, cosigned(text, binary.BigEndian.Uint64(sig)), sig[8:])
}

// Cosign adds the lines of signers to a checkpoint and keeps all lines it has; a line by the same key is replaced. It
// verifies nothing: a witness opens the checkpoint and checks consistency first.
func Cosign(checkpoint []byte, signers ...note.Signer) ([]byte, error) {
	_, n, err := parseNote(checkpoint)
	if err != nil {
		return nil, err
	}
	out, err := note.Sign(n, signers...)
	if err != nil {
		return nil, fmt.Errorf("ledger: cosign: %w", err)
	}
	return out, nil
}

// OpenCosigned is OpenCheckpoint that also verifies cosignatures. Every line by a known witness must verify; the
// cosignatures found are returned in the order of their lines, none if no witness signed. Whether they are enough is
// the caller's policy. The witnesses are verifiers made by NewCosignatureVerifier.
func OpenCosigned(checkpoint []byte, origin string, log, witnesses []note.Verifier) (Checkpoint, []Cosignature, error) {
	c, err := OpenCheckpoint(checkpoint, origin, log...)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	for _, w := range witnesses {
		if _, ok := w.(*cosignatureVerifier); !ok {
			return Checkpoint{}, nil, fmt.Errorf("ledger: %s is not a witness key", w.Name())
		}
	}
	n, err := note.Open(checkpoint, note.VerifierList(witnesses...))
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return c, nil, nil
	}
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("ledger: cosignature: %w", noteError(err))
	}
	var found []Cosignature
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) != 4+cosignatureSize {
			return Checkpoint{}, nil, fmt.Errorf("%w: cosignature line", ErrCheckpoint)
		}
		seconds := binary.BigEndian.Uint64(raw[4:])
		if seconds == 0 || seconds > maxTime {
			return Checkpoint{}, nil, fmt.Errorf("%w: cosignature time %d", ErrCheckpoint, seconds)
		}
		found = append(found, Cosignature{Name: s.Name, KeyHash: s.Hash, At: time.Unix(int64(seconds), 0).UTC()})
	}
	return c, found, nil
}
