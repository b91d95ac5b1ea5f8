package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Limits of a tlog-policy. The specification asks for at least 32 of each kind.
const (
	// MaxWitnessPolicySize is the largest tlog-policy in octets: room for 64 logs and 64 witnesses with post-quantum keys.
	MaxWitnessPolicySize = 320 << 10

	maxPolicyLogs      = 64
	maxPolicyWitnesses = 64
	maxPolicyGroups    = 64
	maxPolicyName      = 255
	maxPolicyURL       = 1024
)

// ErrWitnessPolicy is wrapped by every refusal of the form of a tlog-policy.
var ErrWitnessPolicy = errors.New("ledger: malformed tlog-policy")

// A WitnessPolicy says which logs are known and which sets of witnesses are enough (https://c2sp.org/tlog-policy). It
// does not change after ParseWitnessPolicy.
type WitnessPolicy struct {
	Logs      []PolicyLog
	Witnesses []PolicyWitness

	groups []policyGroup
	quorum policyMember // -1: none
}

// A PolicyLog is a log that the policy knows. Several may share an origin: a log whose key changes has two.
type PolicyLog struct {
	Origin   string
	VKey     string
	URL      string // "" if the policy has none
	Verifier note.Verifier
}

// A PolicyWitness is a witness that the policy names, in or outside of the quorum.
type PolicyWitness struct {
	Name     string // in the policy, not that of the key
	VKey     string
	URL      string // submission prefix; "" if the policy has none
	Verifier note.Verifier
}

// A policyMember is what a name stands for: a witness by its number, or a group by its number from maxPolicyWitnesses
// on.
type policyMember int

const noQuorum policyMember = -1

// policyGroup is satisfied by k of its members.
type policyGroup struct {
	k       int
	members []policyMember
}

// ParseWitnessPolicy reads a tlog-policy. Beyond the specification it refuses a key that is log and witness at once,
// and URLs that are not http or https with a host.
func ParseWitnessPolicy(text []byte) (*WitnessPolicy, error) {
	fail := func(line int, err error) (*WitnessPolicy, error) {
		return nil, fmt.Errorf("%w: line %d: %w", ErrWitnessPolicy, line, err)
	}
	if len(text) > MaxWitnessPolicySize {
		return nil, fmt.Errorf("%w: %d octets", ErrWitnessPolicy, len(text))
	}
	if len(text) == 0 || text[len(text)-1] != '\n' {
		return nil, fmt.Errorf("%w: the last line does not end", ErrWitnessPolicy)
	}
	p := policyParser{policy: &WitnessPolicy{quorum: noQuorum}, names: map[string]policyMember{},
		member: map[policyMember]bool{}, keys: map[Hash]bool{}}
	lines := strings.Split(string(text[:len(text)-1]), "\n")
	for i, line := range lines {
		if strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
			return fail(i+1, errors.New("control character"))
		}
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if err := p.define(words); err != nil {
			return fail(i+1, err)
		}
	}
	if !p.decided {
		return nil, fmt.Errorf("%w: no quorum line", ErrWitnessPolicy)
	}
	return p.policy, nil
}

// A policyParser knows what the lines so far have defined.
type policyParser struct {
	policy  *WitnessPolicy
	names   map[string]policyMember
	member  map[policyMember]bool // as a member of a group
	keys    map[Hash]bool         // of public keys
	decided bool                  // there was a quorum line
}

func (p *policyParser) define(words []string) error {
	switch words[0] {
	case "log":
		return p.log(words[1:])
	case "witness":
		return p.witness(words[1:])
	case "group":
		return p.group(words[1:])
	case "quorum":
		return p.quorum(words[1:])
	}
	return fmt.Errorf("unknown keyword %.40q", words[0])
}

func (p *policyParser) log(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("want: log <vkey> [<url>]")
	}
	if len(p.policy.Logs) == maxPolicyLogs {
		return errors.New("too many logs")
	}
	v, err := NewLogVerifier(args[0])
	if err != nil {
		return err
	}
	l := PolicyLog{Origin: v.Name(), VKey: args[0], Verifier: v}
	if l.URL, err = policyURL(args[1:]); err != nil {
		return err
	}
	p.policy.Logs = append(p.policy.Logs, l)
	return p.addKey(args[0])
}

func (p *policyParser) witness(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errors.New("want: witness <name> <vkey> [<url>]")
	}
	if len(p.policy.Witnesses) == maxPolicyWitnesses {
		return errors.New("too many witnesses")
	}
	v, err := NewCosignatureVerifier(args[1])
	if err != nil {
		return err
	}
	w := PolicyWitness{Name: args[0], VKey: args[1], Verifier: v}
	if w.URL, err = policyURL(args[2:]); err != nil {
		return err
	}
	if err := p.name(args[0], policyMember(len(p.policy.Witnesses))); err != nil {
		return err
	}
	p.policy.Witnesses = append(p.policy.Witnesses, w)
	return p.addKey(args[1])
}

func (p *policyParser) group(args []string) error {
	if len(args) < 3 {
		return errors.New("want group, a name, all, any or a number, and names")
	}
	if len(p.policy.groups) == maxPolicyGroups {
		return errors.New("too many groups")
	}
	g := policyGroup{}
	for _, name := range args[2:] {
		m, ok := p.names[name]
		if !ok {
			return fmt.Errorf("%.80q is not defined above", name)
		}
		if p.member[m] {
			return fmt.Errorf("%.80q is a member already", name)
		}
		p.member[m] = true
		g.members = append(g.members, m)
	}
	switch args[1] {
	case "any":
		g.k = 1
	case "all":
		g.k = len(g.members)
	default:
		k, err := parseDecimal(args[1], uint64(len(g.members)))
		if err != nil || k == 0 {
			return fmt.Errorf("threshold %.20q of %d members", args[1], len(g.members))
		}
		g.k = int(k)
	}
	if err := p.name(args[0], maxPolicyWitnesses+policyMember(len(p.policy.groups))); err != nil {
		return err
	}
	p.policy.groups = append(p.policy.groups, g)
	return nil
}

func (p *policyParser) quorum(args []string) error {
	if len(args) != 1 {
		return errors.New("want: quorum <name>|none")
	}
	if p.decided {
		return errors.New("a second quorum line")
	}
	p.decided = true
	if args[0] == "none" {
		return nil
	}
	m, ok := p.names[args[0]]
	if !ok {
		return fmt.Errorf("%.80q is not defined above", args[0])
	}
	p.policy.quorum = m
	return nil
}

// name defines a name of a witness or group.
func (p *policyParser) name(name string, m policyMember) error {
	if name == "none" || len(name) > maxPolicyName {
		return fmt.Errorf("%.80q cannot be a name", name)
	}
	if _, ok := p.names[name]; ok {
		return fmt.Errorf("%.80q is defined already", name)
	}
	p.names[name] = m
	return nil
}

// addKey refuses a public key that occurred before, whatever its name and type.
func (p *policyParser) addKey(vkey string) error {
	_, rest, _ := strings.Cut(vkey, "+")
	_, key, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) < 2 {
		return errors.New("malformed key")
	}
	id := Hash(sha256.Sum256(raw[1:])) // without the type
	if p.keys[id] {
		return errors.New("a public key occurs twice")
	}
	p.keys[id] = true
	return nil
}

// policyURL reads the optional last word of a line.
func policyURL(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	u, err := url.Parse(args[0])
	if err != nil || len(args[0]) > maxPolicyURL || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(args[0], "#") {
		return "", errors.New("malformed URL")
	}
	return strings.TrimSuffix(args[0], "/"), nil
}

// None reports whether the policy asks for no witness.
func (p *WitnessPolicy) None() bool { return p.quorum == noQuorum }

// Satisfied reports whether the witnesses for which by is true are enough. The index is that of Witnesses.
func (p *WitnessPolicy) Satisfied(by func(witness int) bool) bool {
	if p.quorum == noQuorum {
		return true
	}
	// Groups name only groups before them, so one pass in order decides them all.
	decided := make([]bool, len(p.groups))
	holds := func(m policyMember) bool {
		if m >= maxPolicyWitnesses {
			return decided[m-maxPolicyWitnesses]
		}
		return by(int(m))
	}
	for i, g := range p.groups {
		n := 0
		for _, m := range g.members {
			if holds(m) {
				n++
			}
		}
		decided[i] = n >= g.k
	}
	return holds(p.quorum)
}

// Witnessed is what a policy says about a checkpoint whose signature by a log has been verified.
type Witnessed struct {
	Checkpoint
	Cosignatures []Cosignature // of witnesses that the policy names, in the order of their lines
	Quorum       bool          // they are enough; true without any if the policy asks for none
	At           time.Time     // when the first of them that made it enough cosigned; zero without quorum or need of one
}

// Open verifies a checkpoint against the policy: it must be signed by a log of the policy, and no line by a known key
// may be wrong. The error wraps ErrSignature or ErrCheckpoint. That too few witnesses signed is not an error.
func (p *WitnessPolicy) Open(checkpoint []byte) (Witnessed, error) {
	claimed, _, err := parseNote(checkpoint)
	if err != nil {
		return Witnessed{}, err
	}
	logs := p.LogVerifiers(claimed.Origin)
	if len(logs) == 0 {
		return Witnessed{}, fmt.Errorf("%w: %.80q is not a log of the policy", ErrSignature, claimed.Origin)
	}
	w := Witnessed{}
	w.Checkpoint, w.Cosignatures, err = OpenCosigned(checkpoint, claimed.Origin, logs, p.witnessVerifiers())
	if err != nil {
		return Witnessed{}, err
	}
	w.Quorum, w.At = p.judge(w.Cosignatures)
	return w, nil
}

// judge says whether cosignatures are enough, and since when they are.
func (p *WitnessPolicy) judge(found []Cosignature) (quorum bool, at time.Time) {
	times := make([]time.Time, len(p.Witnesses))
	for _, c := range found {
		for i, w := range p.Witnesses {
			if w.Verifier.Name() == c.Name && w.Verifier.KeyHash() == c.KeyHash {
				times[i] = c.At
			}
		}
	}
	until := func(t time.Time) func(int) bool {
		return func(i int) bool { return !times[i].IsZero() && !times[i].After(t) }
	}
	if p.None() {
		return true, time.Time{}
	}
	for _, t := range times {
		if !t.IsZero() && p.Satisfied(until(t)) && (at.IsZero() || t.Before(at)) {
			quorum, at = true, t
		}
	}
	return quorum, at
}

// LogVerifiers returns the keys that the policy knows for an origin.
func (p *WitnessPolicy) LogVerifiers(origin string) []note.Verifier {
	var out []note.Verifier
	for _, l := range p.Logs {
		if l.Origin == origin {
			out = append(out, l.Verifier)
		}
	}
	return out
}

func (p *WitnessPolicy) witnessVerifiers() []note.Verifier {
	out := make([]note.Verifier, len(p.Witnesses))
	for i, w := range p.Witnesses {
		out[i] = w.Verifier
	}
	return out
}
