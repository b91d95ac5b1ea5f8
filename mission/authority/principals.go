package authority

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A Role is something a principal was granted; nothing is granted without one.
type Role string

// The roles of the contract, and Resume, the separate grant to lift a suspension.
const (
	RoleClient     Role = "client"
	RoleApprover   Role = "approver"
	RoleOperator   Role = "operator"
	RoleResume     Role = "resume" // with RoleOperator
	RoleProducer   Role = "producer"
	RolePDP        Role = "pdp"
	RolePEP        Role = "pep"
	RoleResourceAS Role = "resource_as"
	RolePeer       Role = "peer"
	RoleAuditor    Role = "auditor"
	RoleIGA        Role = "iga"
	RoleAdmin      Role = "admin"
)

var knownRoles = []Role{RoleClient, RoleApprover, RoleOperator, RoleResume, RoleProducer, RolePDP, RolePEP,
	RoleResourceAS, RolePeer, RoleAuditor, RoleIGA, RoleAdmin}

// The kinds of principal.
const (
	KindHuman   = "human"
	KindService = "service"
)

// Limits of a principals document.
const (
	maxPrincipalsSize = 512 << 10
	maxPrincipals     = 4096
	maxList           = 64
	maxName           = 128
)

// A Registration is one element of principals.json: somebody who may authenticate, as the administrator describes it.
type Registration struct {
	ID       string             `json:"id"`                  // [a-z0-9][a-z0-9._-]*, at most 128
	Kind     string             `json:"kind"`                // human or service
	ClientID string             `json:"client_id,omitempty"` // visible ASCII, at most 128; names it on the wire
	JWKS     mission.Raw        `json:"jwks,omitempty"`      // public keys it authenticates with
	Roles    []Role             `json:"roles"`
	Subject  *mission.Principal `json:"subject,omitempty"` // a person: who it is; a client: on whose behalf it acts
	// Approves narrows whom an approver may decide for. Empty: the approver's own subject.
	Approves        []Approves       `json:"approves,omitempty"`
	AuthoritySource *AuthoritySource `json:"authority_source,omitempty"` // of a client: where its authority comes from
	Ceiling         mission.Raw      `json:"ceiling,omitempty"`          // of a client: authority entries it may not exceed
	EvidenceTypes   []string         `json:"evidence_types,omitempty"`   // of a producer
	Audiences       []string         `json:"audiences,omitempty"`        // audiences it may read status for
}

// A Principal is a registration that was checked. It is immutable.
type Principal struct {
	Registration
	keys    *jws.KeySet
	ceiling []mission.Entry
}

// Approves names one subject an approver may decide for.
type Approves struct {
	Subject *mission.Principal `json:"subject,omitempty"`
	Class   string             `json:"class,omitempty"`
}

// AuthoritySource says where a client's authority comes from (core 1.10). organizational needs a policy that somebody
// approved and is refused until there are policies.
type AuthoritySource struct {
	Type string `json:"type"` // user_delegated or service_owned
	ID   string `json:"id"`
}

// Has reports whether the role was granted.
func (r *Registration) Has(role Role) bool { return slices.Contains(r.Roles, role) }

// StatementIssuer is the CWT iss of the statements that p makes as a producer: its client_id if that is an https or
// http URL, else a name under the issuer's own.
func (r *Registration) StatementIssuer(issuer string) string {
	if strings.HasPrefix(r.ClientID, "https://") || strings.HasPrefix(r.ClientID, "http://") {
		return r.ClientID
	}
	return strings.TrimSuffix(issuer, "/") + "/producers/" + r.ClientID
}

// Keys are the public keys p authenticates with; nil if it cannot.
func (p *Principal) Keys() *jws.KeySet { return p.keys }

// mayApprove reports whether p may decide for subject. In this version an approver is the subject.
func (p *Principal) mayApprove(subject mission.Principal) bool {
	if p.Kind != KindHuman || !p.Has(RoleApprover) || p.Subject == nil || *p.Subject != subject {
		return false
	}
	return len(p.Approves) == 0 || slices.ContainsFunc(p.Approves, func(a Approves) bool {
		return a.Subject != nil && *a.Subject == subject
	})
}

// Principals is one version of the principals document: who may authenticate, and as what. It is immutable.
type Principals struct {
	canonical []byte
	digest    mission.Digest
	all       []*Principal
	byID      map[string]*Principal
	byClient  map[string]*Principal
	byKey     map[string]*Principal
	people    map[mission.Principal]*Principal
}

// ParsePrincipals reads principals.json: a JSON array of principals. Errors name the principal and the rule.
func ParsePrincipals(data []byte) (*Principals, error) {
	if len(data) > maxPrincipalsSize {
		return nil, fmt.Errorf("authority: principals of %d octets", len(data))
	}
	canonical, err := mission.Canonical(data)
	if err != nil {
		return nil, fmt.Errorf("authority: principals: %w", err)
	}
	var list []Registration
	if err := mission.Decode(canonical, &list); err != nil {
		return nil, fmt.Errorf("authority: principals: %w", err)
	}
	if len(list) == 0 || len(list) > maxPrincipals {
		return nil, fmt.Errorf("authority: %d principals", len(list))
	}
	ps := &Principals{
		canonical: canonical,
		digest:    mission.RawDigest(canonical),
		byID:      make(map[string]*Principal, len(list)),
		byClient:  make(map[string]*Principal, len(list)),
		byKey:     make(map[string]*Principal, len(list)),
		people:    map[mission.Principal]*Principal{},
	}
	for i := range list {
		p := &Principal{Registration: list[i]}
		err := p.parse()
		if err == nil {
			err = ps.add(p)
		}
		if err != nil {
			return nil, fmt.Errorf("authority: principal %d (%.64q): %w", i, p.ID, err)
		}
	}
	for _, p := range ps.all {
		if other := ps.byID[p.ClientID]; other != nil && other != p {
			return nil, fmt.Errorf("authority: principal %.64q: client_id is the id of another", p.ID)
		}
		if err := ps.checkSource(p); err != nil {
			return nil, fmt.Errorf("authority: principal %.64q: %w", p.ID, err)
		}
	}
	return ps, nil
}

// parse checks what a principal must satisfy alone.
func (p *Principal) parse() error {
	switch {
	case !isPrincipalID(p.ID):
		return fmt.Errorf("id is not 1 to %d of [a-z0-9._-]", maxName)
	case p.Kind != KindHuman && p.Kind != KindService:
		return fmt.Errorf("kind is neither human nor service")
	case p.ClientID != "" && !isClientID(p.ClientID):
		return fmt.Errorf("client_id is not 1 to %d visible ASCII characters", maxName)
	case (p.ClientID == "") != p.JWKS.IsZero():
		return fmt.Errorf("client_id and jwks go together")
	case len(p.Roles) == 0 || len(p.Roles) > len(knownRoles):
		return fmt.Errorf("%d roles", len(p.Roles))
	case len(p.Approves) > maxList || len(p.EvidenceTypes) > maxList || len(p.Audiences) > maxList:
		return fmt.Errorf("a list is longer than %d", maxList)
	}
	for i, r := range p.Roles {
		if !slices.Contains(knownRoles, r) || slices.Contains(p.Roles[:i], r) {
			return fmt.Errorf("role %.32q is unknown or repeated", r)
		}
	}
	for _, s := range slices.Concat(p.EvidenceTypes, p.Audiences) {
		if s == "" || len(s) > 512 {
			return fmt.Errorf("evidence_types and audiences are 1 to 512 octets")
		}
	}
	if err := p.parseRoles(); err != nil {
		return err
	}
	var err error
	if !p.JWKS.IsZero() {
		if p.keys, err = jws.ParseKeySet(p.JWKS.Bytes()); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
	}
	if !p.Ceiling.IsZero() {
		if p.ceiling, err = mission.ParseEntries(p.Ceiling.Bytes()); err != nil {
			return fmt.Errorf("ceiling: %w", err)
		}
	}
	return nil
}

// parseRoles checks which roles go with what and with each other.
func (p *Principal) parseRoles() error {
	if p.Has(RoleApprover) {
		switch {
		case p.Kind != KindHuman || p.Subject == nil:
			return fmt.Errorf("an approver is human and has a subject")
		case p.Has(RoleAdmin) || p.Has(RoleClient):
			return fmt.Errorf("an approver is neither admin nor client")
		}
	}
	if p.Has(RoleResume) && !p.Has(RoleOperator) {
		return fmt.Errorf("resume goes with operator")
	}
	if p.Has(RoleClient) && p.ClientID == "" {
		return fmt.Errorf("a client has a client_id")
	}
	if len(p.Approves) > 0 && !p.Has(RoleApprover) {
		return fmt.Errorf("approves goes with approver")
	}
	if len(p.EvidenceTypes) > 0 && !p.Has(RoleProducer) {
		return fmt.Errorf("evidence_types goes with producer")
	}
	if !p.Ceiling.IsZero() && (!p.Has(RoleClient) || p.Subject == nil || p.AuthoritySource == nil) {
		return fmt.Errorf("ceiling goes with client, subject and authority_source")
	}
	for _, a := range p.Approves {
		if (a.Subject == nil) == (a.Class == "") {
			return fmt.Errorf("each of approves names a subject or a class")
		}
	}
	return nil
}

// add indexes p. Names, keys and people are unique: an authenticated key leads to one principal, and a subject to one
// person.
func (ps *Principals) add(p *Principal) error {
	if ps.byID[p.ID] != nil {
		return fmt.Errorf("id is not unique")
	}
	if p.ClientID != "" {
		if ps.byClient[p.ClientID] != nil {
			return fmt.Errorf("client_id is not unique")
		}
		ps.byClient[p.ClientID] = p
		for _, kid := range p.keys.KeyIDs() {
			if ps.byKey[kid] != nil {
				return fmt.Errorf("key id %.64q is not unique", kid)
			}
			ps.byKey[kid] = p
		}
	}
	if p.Kind == KindHuman && p.Subject != nil {
		if ps.people[*p.Subject] != nil {
			return fmt.Errorf("two people are the same subject")
		}
		ps.people[*p.Subject] = p
	}
	ps.byID[p.ID] = p
	ps.all = append(ps.all, p)
	return nil
}

// checkSource holds a client's subject against its authority source: what a user delegates is a person's, what a
// service owns never is (core 1.10).
func (ps *Principals) checkSource(p *Principal) error {
	if p.AuthoritySource == nil {
		return nil
	}
	if p.Subject == nil || p.AuthoritySource.ID == "" || len(p.AuthoritySource.ID) > 512 {
		return fmt.Errorf("authority_source goes with a subject and has an id")
	}
	person := ps.people[*p.Subject] != nil
	switch p.AuthoritySource.Type {
	case mission.SourceUserDelegated:
		if !person {
			return fmt.Errorf("user_delegated authority has a person as subject")
		}
	case mission.SourceServiceOwned:
		if person {
			return fmt.Errorf("service_owned authority has no person as subject")
		}
	default:
		return fmt.Errorf("authority_source type is neither user_delegated nor service_owned")
	}
	return nil
}

// Digest commits to the canonical document.
func (ps *Principals) Digest() mission.Digest { return ps.digest }

// ByID finds a principal by its id.
func (ps *Principals) ByID(id string) (*Principal, bool) { p, ok := ps.byID[id]; return p, ok }

// ByClient finds a principal by its client_id.
func (ps *Principals) ByClient(clientID string) (*Principal, bool) {
	p, ok := ps.byClient[clientID]
	return p, ok
}

// ByKey finds the principal that authenticates with the key of this id.
func (ps *Principals) ByKey(kid string) (*Principal, bool) { p, ok := ps.byKey[kid]; return p, ok }

// person finds the human principal that is the subject.
func (ps *Principals) person(subject mission.Principal) (*Principal, bool) {
	p, ok := ps.people[subject]
	return p, ok
}

// All returns the principals in the order of the document.
func (ps *Principals) All() []*Principal { return slices.Clone(ps.all) }

func isPrincipalID(s string) bool {
	if s == "" || len(s) > maxName || strings.ContainsAny(s[:1], "._-") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

func isClientID(s string) bool { return isVisible(s, maxName) }

// isVisible reports whether s is 1 to limit visible ASCII characters.
func isVisible(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
