package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Media types of the status of a log's keys: ContentTypeKeyStatus is the document, as the log registers each version
// of it; MediaTypeKeyStatus is the document with the statement that signs it, as it is served.
const (
	ContentTypeKeyStatus = "application/mas-key-status+cbor"
	MediaTypeKeyStatus   = "application/mas-key-status+cose"
)

const (
	keyStatusFormat    = 1
	maxKeyStatusSize   = 64 << 10
	maxKeyRecords      = 256
	maxKeyRole         = 32
	maxSignedKeyStatus = maxKeyStatusSize + MaxStatementSize + 16
)

// KeyStatusAge is how long a signed key status counts as current unless the document says less, in seconds: a day.
const KeyStatusAge = 24 * 60 * 60

// keyStatusSkew is how far in the future the signing time may lie.
const keyStatusSkew = 5 * time.Minute

// Errors of key status documents.
var (
	// ErrKeyStatus is wrapped by every refusal of a key status document.
	ErrKeyStatus = errors.New("ledger: malformed key status")
	// ErrStale: the key status was signed too long ago to say anything about now, or in the future.
	ErrStale = errors.New("ledger: the key status is out of date")
)

// KeyState says whether a key is in use.
type KeyState string

// The states of a key. What a retired key signed before NotAfter stands. What a compromised key signed counts only if
// something that the key did not authenticate shows that it existed before CompromisedAt.
const (
	KeyStateActive      KeyState = "active"
	KeyStateRetired     KeyState = "retired"
	KeyStateCompromised KeyState = "compromised"
)

// A KeyStatus says of every key a log and its issuer have had what has become of it. Its encoding is a deterministic
// CBOR map with text keys:
//
//	{"keys": [+ {"key": COSE_Key, "role": text, "status": text, ? "not_after": uint, ? "not_before": uint,
//	 ? "compromised_at": uint}], "format": 1, "issuer": text, "origin": text, "max_age": uint, "version": uint}
//
// Keys are sorted by kid, each once. Times are seconds since the epoch. Two active keys of one role are an overlap:
// the newer one is about to replace the other.
type KeyStatus struct {
	Issuer  string
	Origin  string // of the log
	Version uint64 // 1 when the log begins, one more with every change
	MaxAge  uint64 // seconds after which a signed copy is out of date, at most KeyStatusAge
	Keys    []KeyRecord
}

// A KeyRecord is what has become of one key.
type KeyRecord struct {
	Role          string // what it signs: checkpoint, receipts, issuer, evidence, governance, …
	Key           Key
	State         KeyState
	NotBefore     int64 // 0: since the log began
	NotAfter      int64 // when it was retired or withdrawn; 0 exactly if it is active
	CompromisedAt int64 // since when somebody else may have signed with it; 0: nobody knows, or not compromised
}

// MarshalKeyStatus returns the canonical bytes of s. It sorts the keys; s is not modified.
func MarshalKeyStatus(s *KeyStatus) ([]byte, error) {
	sorted := *s
	sorted.Keys = slices.Clone(s.Keys)
	for i := range sorted.Keys {
		k, err := NewKey(sorted.Keys[i].Key.Public)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
		}
		sorted.Keys[i].Key = k
	}
	slices.SortFunc(sorted.Keys, func(a, b KeyRecord) int { return compareKeys(a.Key, b.Key) })
	if err := sorted.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
	}
	b := appendItemHead(nil, cborMap, 6)
	b = appendItemHead(appendText(b, "keys"), cborArray, uint64(len(sorted.Keys)))
	for _, k := range sorted.Keys {
		var err error
		if b, err = k.append(b); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
		}
	}
	b = appendItemHead(appendText(b, "format"), cborUint, keyStatusFormat)
	b = appendText(appendText(b, "issuer"), s.Issuer)
	b = appendText(appendText(b, "origin"), s.Origin)
	b = appendItemHead(appendText(b, "max_age"), cborUint, s.MaxAge)
	b = appendItemHead(appendText(b, "version"), cborUint, s.Version)
	if len(b) > maxKeyStatusSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrKeyStatus, len(b), ErrTooLarge)
	}
	return b, nil
}

func (k *KeyRecord) append(b []byte) ([]byte, error) {
	times := []struct {
		name string
		at   int64
	}{{"not_after", k.NotAfter}, {"not_before", k.NotBefore}, {"compromised_at", k.CompromisedAt}}
	pairs := uint64(3)
	for _, t := range times {
		if t.at != 0 {
			pairs++
		}
	}
	b, err := appendKeyParams(appendText(appendItemHead(b, cborMap, pairs), "key"), k.Key.Public, k.Key.ID)
	if err != nil {
		return nil, err
	}
	b = appendText(appendText(b, "role"), k.Role)
	b = appendText(appendText(b, "status"), string(k.State))
	for _, t := range times {
		if t.at != 0 {
			b = appendInt(appendText(b, t.name), t.at)
		}
	}
	return b, nil
}

// ParseKeyStatus is the strict inverse of MarshalKeyStatus.
func ParseKeyStatus(data []byte) (*KeyStatus, error) {
	if len(data) > maxKeyStatusSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrKeyStatus, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	s := new(KeyStatus)
	r.container(cborMap, 6)
	r.name("keys")
	for range r.array(maxKeyRecords) {
		s.Keys = append(s.Keys, r.keyRecord())
	}
	r.name("format")
	if f := r.uint(^uint64(0)); r.err == nil && f != keyStatusFormat {
		r.fail("format %d is unknown", f)
	}
	r.name("issuer")
	s.Issuer = r.text(maxIssuer)
	r.name("origin")
	s.Origin = r.text(maxOrigin)
	r.name("max_age")
	s.MaxAge = r.uint(KeyStatusAge)
	r.name("version")
	s.Version = r.uint(maxTime)
	err := r.end()
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
	}
	return s, nil
}

func (r *cborReader) keyRecord() (k KeyRecord) {
	pairs := r.mapOf(6)
	r.name("key")
	k.Key = r.coseKey()
	r.name("role")
	k.Role = r.text(maxKeyRole)
	r.name("status")
	k.State = KeyState(r.text(16))
	last := -1
	for range pairs - 3 {
		name := r.text(32)
		i := slices.Index([]string{"not_after", "not_before", "compromised_at"}, name)
		if i <= last {
			r.fail("member %q, or its place", name)
		}
		at := int64(r.uint(maxTime))
		if r.err != nil {
			return KeyRecord{}
		}
		if last = i; at == 0 {
			r.fail("%s is zero", name)
		}
		*[]*int64{&k.NotAfter, &k.NotBefore, &k.CompromisedAt}[i] = at
	}
	if r.err == nil && pairs < 3 {
		r.fail("%d members", pairs)
	}
	return k
}

// check applies the rules that MarshalKeyStatus and ParseKeyStatus share.
func (s *KeyStatus) check() error {
	if err := checkText(s.Issuer, maxIssuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if err := CheckOrigin(s.Origin); err != nil {
		return err
	}
	if s.Version == 0 || s.Version > maxTime || s.MaxAge == 0 || s.MaxAge > KeyStatusAge {
		return fmt.Errorf("version %d, max_age %d", s.Version, s.MaxAge)
	}
	if len(s.Keys) == 0 || len(s.Keys) > maxKeyRecords {
		return fmt.Errorf("%d keys", len(s.Keys))
	}
	for i, k := range s.Keys {
		if i > 0 && compareKeys(s.Keys[i-1].Key, k.Key) >= 0 {
			return errors.New("keys are not in order, each once")
		}
		if err := k.check(); err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
	}
	return nil
}

func (k *KeyRecord) check() error {
	if !isRestrictedName(k.Role) || len(k.Role) > maxKeyRole {
		return fmt.Errorf("role %.40q", k.Role)
	}
	for _, at := range []int64{k.NotBefore, k.NotAfter, k.CompromisedAt} {
		if at < 0 || at > maxTime {
			return fmt.Errorf("time %d", at)
		}
	}
	if k.NotAfter != 0 && k.NotAfter < k.NotBefore {
		return errors.New("not_after is before not_before")
	}
	switch {
	case k.State != KeyStateActive && k.State != KeyStateRetired && k.State != KeyStateCompromised:
		return fmt.Errorf("status %.20q", k.State)
	case (k.State == KeyStateActive) != (k.NotAfter == 0):
		return fmt.Errorf("a key that is %s, not_after %d", k.State, k.NotAfter)
	case k.CompromisedAt != 0 && k.State != KeyStateCompromised:
		return fmt.Errorf("a key that is %s has compromised_at", k.State)
	}
	return nil
}

// A SignedKeyStatus is a key status with who signed it and when.
type SignedKeyStatus struct {
	*KeyStatus
	SignedAt time.Time
	KeyID    []byte // of the governance key that signed it
}

// SignKeyStatus returns a key status as it is served: the CBOR array [bstr statement, bstr document]. The statement
// is by the issuer about <issuer>/log, commits to the document and carries the time of signing. The log registers the
// same document under the evidence key, so that everybody sees which versions there were.
func SignKeyStatus(ctx context.Context, document []byte, at time.Time, signer Signer) ([]byte, error) {
	s, err := ParseKeyStatus(document)
	if err != nil {
		return nil, err
	}
	subject, err := Subject(s.Issuer, SubjectLog, "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
	}
	statement, err := SignStatement(ctx, Claims{Issuer: s.Issuer, Subject: subject, IssuedAt: at.Unix(),
		ContentType: ContentTypeKeyStatus, Digest: digestOf(document)}, signer)
	if err != nil {
		return nil, fmt.Errorf("ledger: key status: %w", err)
	}
	return appendBytes(appendBytes(appendItemHead(nil, cborArray, 2), statement), document), nil
}

// OpenKeyStatus verifies a signed key status: one of the given keys of the issuer signed it. Whether it is current is
// for Current to say.
func OpenKeyStatus(data []byte, issuer string, governance KeySet) (*SignedKeyStatus, error) {
	if len(data) > maxSignedKeyStatus {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrKeyStatus, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	r.container(cborArray, 2)
	raw, document := r.bytes(MaxStatementSize), r.bytes(maxKeyStatusSize)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
	}
	statement, err := ParseStatement(bytes.Clone(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
	}
	key, ok := governance.Find(statement.KeyID)
	if !ok {
		return nil, fmt.Errorf("ledger: key status: %w: %x", ErrUnknownKey, statement.KeyID)
	}
	if err := statement.Verify(key.Public); err != nil {
		return nil, fmt.Errorf("ledger: key status: %w", err)
	}
	s, err := ParseKeyStatus(document)
	if err != nil {
		return nil, err
	}
	subject, err := Subject(issuer, SubjectLog, "")
	if err != nil || statement.Issuer != issuer || s.Issuer != issuer || statement.Subject != subject ||
		statement.ContentType != ContentTypeKeyStatus || statement.Digest != digestOf(document) || statement.IssuedAt <= 0 {
		return nil, fmt.Errorf("%w: the statement is not about this document of %.200q", ErrKeyStatus, issuer)
	}
	return &SignedKeyStatus{KeyStatus: s, SignedAt: time.Unix(statement.IssuedAt, 0), KeyID: key.ID}, nil
}

// Current reports whether the status may be relied on at an instant: it was signed before, and not longer ago than its
// max_age. The error wraps ErrStale.
func (s *SignedKeyStatus) Current(at time.Time) error {
	switch age := at.Sub(s.SignedAt); {
	case age < -keyStatusSkew:
		return fmt.Errorf("%w: signed %s in the future", ErrStale, (-age).Round(time.Second))
	case age > time.Duration(s.MaxAge)*time.Second:
		return fmt.Errorf("%w: signed %s ago, counts for %d seconds", ErrStale, age.Round(time.Second), s.MaxAge)
	}
	return nil
}
