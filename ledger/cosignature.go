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

	formatsnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Signed-note key types of timestamped cosignatures.
const (
	cosignatureType = 0x04 // Ed25519, cosignature/v1
	mldsaType       = 0x06 // ML-DSA-44, subtree/v1
)

const cosignatureSize = 8 + ed25519.SignatureSize // big-endian seconds, then the signature

const mldsaPublicKeySize = 1312

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
	return formatVKey(name, append([]byte{cosignatureType}, pub...)), nil
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

// NewCosignatureVerifier returns the verifier of a witness key: an Ed25519 key in the form of CosignatureVKey, or an
// ML-DSA-44 key of the same form with type 0x06.
func NewCosignatureVerifier(vkey string) (note.Verifier, error) {
	name, key, err := parseVKey(vkey)
	if err != nil {
		return nil, err
	}
	switch {
	case key[0] == cosignatureType && len(key) == 1+ed25519.PublicKeySize:
		return &cosignatureVerifier{name: name, hash: noteKeyHash(name, key), pub: ed25519.PublicKey(key[1:])}, nil
	case key[0] == mldsaType && len(key) == 1+mldsaPublicKeySize:
		v, err := formatsnote.NewMLDSAVerifier(vkey)
		if err != nil {
			return nil, errVKey
		}
		return &mldsaVerifier{v}, nil
	}
	return nil, errVKey
}

// NewLogVerifier returns the verifier of a log's checkpoint key: Ed25519 (type 0x01) or, beside one, ML-DSA-44 (0x06).
func NewLogVerifier(vkey string) (note.Verifier, error) {
	_, key, err := parseVKey(vkey)
	if err != nil {
		return nil, err
	}
	if key[0] == mldsaType {
		return NewCosignatureVerifier(vkey)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, errVKey
	}
	return v, nil
}

var errVKey = errors.New("ledger: malformed verifier key")

// parseVKey takes a verifier key apart that is in its one form: <name>+<key hash>+<base64 of type || public key>.
func parseVKey(vkey string) (name string, typedKey []byte, err error) {
	name, rest, _ := strings.Cut(vkey, "+")
	_, key64, _ := strings.Cut(rest, "+")
	typedKey, err = base64.StdEncoding.Strict().DecodeString(key64)
	if err != nil || len(typedKey) < 2 || CheckOrigin(name) != nil || vkey != formatVKey(name, typedKey) {
		return "", nil, errVKey
	}
	return name, typedKey, nil
}

func formatVKey(name string, typedKey []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, noteKeyHash(name, typedKey), base64.StdEncoding.EncodeToString(typedKey))
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

// mldsaVerifier verifies the ML-DSA-44 cosignatures of one key. They commit to origin, size and root of the checkpoint.
type mldsaVerifier struct{ *formatsnote.SubtreeVerifier }

// A cosignatureKey is one of the two verifiers of this file. Their signatures begin with the time.
type cosignatureKey interface{ timestamped() }

func (*cosignatureVerifier) timestamped() {}
func (*mldsaVerifier) timestamped()       {}

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
	found, err := openCosignatures(checkpoint, witnesses)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return c, found, nil
}

// openCosignatures verifies the lines by the given witnesses. There may be none.
func openCosignatures(checkpoint []byte, witnesses []note.Verifier) ([]Cosignature, error) {
	for _, w := range witnesses {
		if _, ok := w.(cosignatureKey); !ok {
			return nil, fmt.Errorf("ledger: %s is not a witness key", w.Name())
		}
	}
	n, err := note.Open(checkpoint, note.VerifierList(witnesses...))
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: cosignature: %w", noteError(err))
	}
	var found []Cosignature
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4+cosignatureSize {
			return nil, fmt.Errorf("%w: cosignature line", ErrCheckpoint)
		}
		seconds := binary.BigEndian.Uint64(raw[4:])
		if seconds == 0 || seconds > maxTime {
			return nil, fmt.Errorf("%w: cosignature time %d", ErrCheckpoint, seconds)
		}
		found = append(found, Cosignature{Name: s.Name, KeyHash: s.Hash, At: time.Unix(int64(seconds), 0).UTC()})
	}
	return found, nil
}

// AddCosignatures adds what a witness answered to the checkpoint that it was asked about: signature lines, of which
// those by the witness must verify and all others are left out. The checkpoint keeps its other lines; one by the same
// key is replaced. It returns the cosignatures that were added, an error that wraps ErrSignature if there is none.
func AddCosignatures(checkpoint, answer []byte, witness note.Verifier) ([]byte, []Cosignature, error) {
	c, before, err := parseNote(checkpoint)
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(string(answer)) {
		if !strings.HasPrefix(line, "\u2014 ") || !strings.HasSuffix(line, "\n") {
			return nil, nil, fmt.Errorf("%w: not signature lines", ErrCheckpoint)
		}
	}
	bare := []byte(before.Text + "\n")
	found, err := openCosignatures(append(bare, answer...), []note.Verifier{witness})
	if err != nil {
		return nil, nil, err
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("%w: no line by %.80q", ErrSignature, witness.Name())
	}
	n, err := note.Open(append(bare, answer...), note.VerifierList(witness))
	if err != nil {
		return nil, nil, fmt.Errorf("ledger: cosignature: %w", noteError(err))
	}
	out := &note.Note{Text: c.Text()}
	for _, s := range before.UnverifiedSigs {
		if s.Name != witness.Name() || s.Hash != witness.KeyHash() {
			out.Sigs = append(out.Sigs, s)
		}
	}
	out.Sigs = append(out.Sigs, n.Sigs...)
	text, err := note.Sign(out)
	if err == nil && len(text) > MaxNoteSize {
		err = fmt.Errorf("%w: note of %d octets", ErrCheckpoint, len(text))
	}
	return text, found, err
}
