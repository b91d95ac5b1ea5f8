package keys

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

var stepRing = durable.Register("keys.ring", "the key ring is the new one; before, it was the old one")

// A Status is where a key is in its life.
type Status string

// The statuses of a key in a ring. A role has exactly one active key and at most one next key.
const (
	Active      Status = "active"      // signs
	Next        Status = "next"        // published; signs checkpoints beside the active key; will be active
	Retired     Status = "retired"     // published so that old signatures verify
	Compromised Status = "compromised" // published nowhere but in the key status
)

const (
	ringFormat    = 1
	maxRing       = 1 << 20
	maxRingKeys   = 256
	maxStatements = 128
)

// A Ring is the history of the keys of one server: which key of each role signs, which one comes next, what has
// become of the others, and the documents about that which the log must hold. It lives in one file that is replaced
// as a whole: replacing it is the instant at which a change happens. The server reads it when it starts, brings the
// log up to date with it, and only then signs anything else. A Ring holds no secret.
type Ring struct {
	Version    uint64 // of the key status: 1 for the first ring
	Entries    []Entry
	OrderedBy  [2]string  // the administrators who ordered the newest change; empty in version 1
	Statements []Document // what the log must hold, oldest first
}

// An Entry is one key of a Ring.
type Entry struct {
	Role          Role
	Ref           string // reference; empty: the one in the configuration
	Public        crypto.PublicKey
	Status        Status
	NotBefore     int64 // seconds since the epoch; 0: since the log began
	NotAfter      int64 // of a key that signs no more
	CompromisedAt int64 // of a compromised key; 0: unknown
}

// A Document is the body of a statement about keys.
type Document struct {
	ContentType string
	Body        []byte
}

// with returns the ring with the keys of roles that had none, which makes it another version; nil is the ring of a
// server that starts for the first time.
func (r *Ring) with(keys map[Role]*Key) *Ring {
	next := &Ring{Version: 1}
	if r != nil {
		*next = *r
		next.Entries = slices.Clone(r.Entries)
	}
	for _, role := range Roles() {
		if k := keys[role]; k != nil && next.find(role, Active) == nil {
			next.Entries = append(next.Entries, Entry{Role: role, Public: k.public, Status: Active})
		}
	}
	switch {
	case r == nil:
	case len(next.Entries) == len(r.Entries):
		return r
	default:
		next.Version++
	}
	return next
}

// moved reports whether the active key of a role is not, or not only, where the configuration says.
func (r *Ring) moved(role Role) bool {
	e := r.find(role, Active)
	return e != nil && e.Ref != ""
}

// find returns the key of a role with this status, Active or Next, nil if there is none.
func (r *Ring) find(role Role, status Status) *Entry {
	if r == nil {
		return nil
	}
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Role == role && e.Status == status {
			return e
		}
	}
	return nil
}

// Find returns the key with an RFC 9679 thumbprint.
func (r *Ring) Find(kid []byte) (*Entry, bool) {
	for i := range r.Entries {
		if own, err := ledger.KeyThumbprint(r.Entries[i].Public); err == nil && bytes.Equal(own, kid) {
			return &r.Entries[i], true
		}
	}
	return nil, false
}

// Public lists the public keys of a role that are to be published: the active one first, then the next one, then those
// retired at or after since, newest first.
func (r *Ring) Public(role Role, since int64) []crypto.PublicKey {
	var list []crypto.PublicKey
	for _, status := range []Status{Active, Next} {
		if e := r.find(role, status); e != nil {
			list = append(list, e.Public)
		}
	}
	for _, e := range slices.Backward(r.Entries) {
		if e.Role == role && e.Status == Retired && e.NotAfter >= since {
			list = append(list, e.Public)
		}
	}
	return list
}

// All lists every public key that a role has ever had: with them, and no others, a store's own history is verified.
func (r *Ring) All(role Role) []crypto.PublicKey {
	var list []crypto.PublicKey
	for _, e := range r.Entries {
		if e.Role == role {
			list = append(list, e.Public)
		}
	}
	return list
}

// KeyStatus is the ring as the document that everybody may read.
func (r *Ring) KeyStatus(issuer, origin string) ([]byte, error) {
	s := &ledger.KeyStatus{Issuer: issuer, Origin: origin, Version: r.Version, MaxAge: ledger.KeyStatusAge}
	for _, e := range r.Entries {
		state := ledger.KeyState(e.Status)
		if e.Status == Next {
			state = ledger.KeyStateActive
		}
		s.Keys = append(s.Keys, ledger.KeyRecord{Role: string(e.Role), Key: ledger.Key{Public: e.Public}, State: state,
			NotBefore: e.NotBefore, NotAfter: e.NotAfter, CompromisedAt: e.CompromisedAt})
	}
	return ledger.MarshalKeyStatus(s)
}

// The JSON form of a ring.
type (
	ringJSON struct {
		Format     int64          `json:"format"`
		Version    int64          `json:"version"`
		Keys       []entryJSON    `json:"keys"`
		OrderedBy  []string       `json:"ordered_by"`
		Statements []documentJSON `json:"statements"`
	}
	entryJSON struct {
		Role          Role        `json:"role"`
		Ref           string      `json:"ref,omitempty"`
		Key           mission.Raw `json:"jwk"`
		Status        Status      `json:"status"`
		NotBefore     int64       `json:"not_before,omitempty"`
		NotAfter      int64       `json:"not_after,omitempty"`
		CompromisedAt int64       `json:"compromised_at,omitempty"`
	}
	documentJSON struct {
		ContentType string `json:"content_type"`
		Body        string `json:"body"`
	}
)

// ReadRing reads a ring file. A file that is not there is nil, and no error: the keys have never changed.
func ReadRing(path string) (*Ring, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys: ring: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRing+1))
	if err != nil {
		return nil, fmt.Errorf("keys: ring: %w", err)
	}
	r, err := parseRing(data)
	if err != nil {
		return nil, fmt.Errorf("keys: ring %s: %w", path, err)
	}
	return r, nil
}

// parseRing is the strict inverse of marshal.
func parseRing(data []byte) (*Ring, error) {
	if len(data) > maxRing {
		return nil, fmt.Errorf("more than %d octets", maxRing)
	}
	text, rest, _ := bytes.Cut(data, []byte("\n"))
	if sum := sha256.Sum256(text); string(rest) != hex.EncodeToString(sum[:])+"\n" {
		return nil, errors.New("the second line is not the SHA-256 of the first: the file is damaged")
	}
	var j ringJSON
	if err := mission.Decode(text, &j); err != nil {
		return nil, err
	}
	if j.Format != ringFormat || j.Version < 1 || len(j.OrderedBy) > 2 || len(j.OrderedBy) == 1 {
		return nil, fmt.Errorf("format %d, version %d, %d orderers", j.Format, j.Version, len(j.OrderedBy))
	}
	r := &Ring{Version: uint64(j.Version)}
	copy(r.OrderedBy[:], j.OrderedBy)
	for i, k := range j.Keys {
		public, name, err := jws.ParsePublicKey(k.Key.Bytes())
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		kid, err := ledger.KeyThumbprint(public)
		if err != nil || name != base64.RawURLEncoding.EncodeToString(kid) {
			return nil, fmt.Errorf("key %d: its kid is not its thumbprint", i)
		}
		r.Entries = append(r.Entries, Entry{Role: k.Role, Ref: k.Ref, Public: public, Status: k.Status,
			NotBefore: k.NotBefore, NotAfter: k.NotAfter, CompromisedAt: k.CompromisedAt})
	}
	for i, d := range j.Statements {
		body, err := base64.RawURLEncoding.Strict().DecodeString(d.Body)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i, err)
		}
		r.Statements = append(r.Statements, Document{d.ContentType, body})
	}
	return r, r.check()
}

// check refuses a ring that no change of this package leads to.
func (r *Ring) check() error {
	if len(r.Entries) > maxRingKeys || len(r.Statements) > maxStatements {
		return errors.New("too many keys or statements")
	}
	count := make(map[Role]map[Status]int)
	for i, e := range r.Entries {
		if !slices.Contains(Roles(), e.Role) || !slices.Contains([]Status{Active, Next, Retired, Compromised}, e.Status) {
			return fmt.Errorf("key %d: role %.20q, status %.20q", i, e.Role, e.Status)
		}
		if k, err := ledger.NewKey(e.Public); err != nil || k.Algorithm != e.Role.algorithm() {
			return fmt.Errorf("key %d is not of the kind that %s asks for", i, e.Role)
		}
		if count[e.Role] == nil {
			count[e.Role] = make(map[Status]int)
		}
		count[e.Role][e.Status]++
	}
	for role, n := range count {
		if n[Active] != 1 || n[Next] > 1 {
			return fmt.Errorf("%s has %d active and %d next keys", role, n[Active], n[Next])
		}
	}
	for _, d := range r.Statements {
		var err error
		switch d.ContentType {
		case ledger.ContentTypeSuccession:
			_, err = ledger.ParseSuccession(d.Body)
		case ledger.ContentTypeKeyStatus:
			_, err = ledger.ParseKeyStatus(d.Body)
		default:
			err = fmt.Errorf("statement of type %.80q", d.ContentType)
		}
		if err != nil {
			return err
		}
	}
	// The status document has the rules about times, and refuses a key that is there twice.
	_, err := r.KeyStatus("https://check.invalid", "check.invalid/log/check")
	return err
}

func (r *Ring) marshal() ([]byte, error) {
	j := ringJSON{Format: ringFormat, Version: int64(r.Version), Keys: []entryJSON{}, OrderedBy: []string{},
		Statements: []documentJSON{}}
	for _, id := range r.OrderedBy {
		if id != "" {
			j.OrderedBy = append(j.OrderedBy, id)
		}
	}
	for _, e := range r.Entries {
		kid, err := ledger.KeyThumbprint(e.Public)
		if err != nil {
			return nil, err
		}
		text, err := jws.MarshalPublicKey(base64.RawURLEncoding.EncodeToString(kid), e.Public)
		if err != nil {
			return nil, err
		}
		k := entryJSON{Role: e.Role, Ref: e.Ref, Status: e.Status, NotBefore: e.NotBefore, NotAfter: e.NotAfter,
			CompromisedAt: e.CompromisedAt}
		if k.Key, err = mission.ParseRaw(text); err != nil {
			return nil, err
		}
		j.Keys = append(j.Keys, k)
	}
	for _, d := range r.Statements {
		j.Statements = append(j.Statements, documentJSON{d.ContentType, base64.RawURLEncoding.EncodeToString(d.Body)})
	}
	text, err := mission.Marshal(j)
	if err != nil {
		return nil, err
	}
	text = sealed(text)
	if _, err := parseRing(text); err != nil {
		return nil, err
	}
	return text, nil
}

// sealed adds the line that shows damage.
func sealed(text []byte) []byte {
	sum := sha256.Sum256(text)
	return append(text, "\n"+hex.EncodeToString(sum[:])+"\n"...)
}

// WriteRing replaces the ring file. After a failure, and after a crash, the file is the old one or the new one.
func WriteRing(path string, r *Ring) error {
	text, err := r.marshal()
	if err != nil {
		return fmt.Errorf("keys: ring: %w", err)
	}
	temp := path + ".new"
	err = stepRing.Do(func() error {
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := writePrivate(temp, text); err != nil {
			return err
		}
		return errors.Join(os.Rename(temp, path), syncDir(filepath.Dir(path)))
	})
	if err != nil {
		return fmt.Errorf("keys: ring: %w", err)
	}
	return nil
}
