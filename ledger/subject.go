package ledger

import (
	"errors"
	"fmt"
	"strings"
)

// A SubjectKind is the collection that a statement subject belongs to: the path segment after the issuer.
type SubjectKind string

// The kinds of subject. SubjectPolicy, SubjectPrincipals and SubjectLog have no id.
const (
	SubjectMissions   SubjectKind = "missions"
	SubjectPolicy     SubjectKind = "policy"
	SubjectPrincipals SubjectKind = "principals"
	SubjectPeers      SubjectKind = "peers"
	SubjectAgreements SubjectKind = "agreements"
	SubjectApprovals  SubjectKind = "approvals"
	SubjectExports    SubjectKind = "exports"
	SubjectLog        SubjectKind = "log"
)

// ErrSubject: not a subject of the issuer, or not an id that may stand in one.
var ErrSubject = errors.New("ledger: malformed subject")

const maxSubjectID = 256

// Subject returns the CWT sub of statements about one object, <issuer without one trailing slash>/<kind>[/<id>]. All
// statements with one subject form a feed, whoever made them. An id is 1 to 256 of A-Z a-z 0-9 _ - and, except for
// missions and not at the start, a full stop; it is empty exactly for the kinds without id.
func Subject(issuer string, kind SubjectKind, id string) (string, error) {
	if err := checkText(issuer, maxClaim/2); err != nil {
		return "", fmt.Errorf("%w: issuer: %w", ErrSubject, err)
	}
	base := strings.TrimSuffix(issuer, "/")
	switch kind {
	case SubjectPolicy, SubjectPrincipals, SubjectLog:
		if id != "" {
			return "", fmt.Errorf("%w: %s has no id", ErrSubject, kind)
		}
		return base + "/" + string(kind), nil
	case SubjectMissions, SubjectPeers, SubjectAgreements, SubjectApprovals, SubjectExports:
		if !isSubjectID(id, kind != SubjectMissions) {
			return "", fmt.Errorf("%w: id %.80q", ErrSubject, id)
		}
		return base + "/" + string(kind) + "/" + id, nil
	}
	return "", fmt.Errorf("%w: kind %.80q", ErrSubject, kind)
}

// MissionSubject is Subject for a mission.
func MissionSubject(issuer, id string) (string, error) { return Subject(issuer, SubjectMissions, id) }

// ParseSubject returns the kind and id of a subject of the given issuer. It accepts only what Subject returns.
func ParseSubject(issuer, subject string) (SubjectKind, string, error) {
	rest, ok := strings.CutPrefix(subject, strings.TrimSuffix(issuer, "/")+"/")
	if !ok {
		return "", "", fmt.Errorf("%w: %.80q is not under the issuer", ErrSubject, subject)
	}
	kind, id, _ := strings.Cut(rest, "/")
	if again, err := Subject(issuer, SubjectKind(kind), id); err != nil {
		return "", "", err
	} else if again != subject {
		return "", "", fmt.Errorf("%w: %.80q", ErrSubject, subject)
	}
	return SubjectKind(kind), id, nil
}

func isSubjectID(id string, dots bool) bool {
	if id == "" || len(id) > maxSubjectID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		case c == '.' && dots && i > 0:
		default:
			return false
		}
	}
	return true
}
