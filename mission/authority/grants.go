package authority

import (
	"cmp"
	"slices"

	"github.com/mission-authority/mas/mission"
)

// name is how a caller is named on the wire and in keys of rows: its client_id, or its id if it has none. The two
// namespaces do not overlap (see ParsePrincipals).
func (c Caller) name() string { return cmp.Or(c.ClientID, c.ID) }

// is reports whether the caller is the person who is subject.
func (c Caller) is(subject mission.Principal) bool {
	return c.Kind == KindHuman && c.Subject != nil && *c.Subject == subject
}

// owns reports whether the caller is the client the mission was approved for.
func (c Caller) owns(rec *mission.Record) bool {
	return c.Has(RoleClient) && c.ClientID != "" && c.ClientID == rec.ClientID
}

// mayRead is the read grant of callers of this domain. Without an audience the answer tells the state only: it is for
// the mission's client, subject and approver, for operators, and for whoever enforces an entry of the mission. With an
// audience it also tells that audience's entries: it is for who was granted the audience, if the mission has an entry
// for it.
func (c Caller) mayRead(rec *mission.Record, audience string) bool {
	if audience != "" {
		return c.enforces() && slices.Contains(c.Audiences, audience) &&
			len(mission.ForAudience(rec.AuthoritySet, audience)) > 0
	}
	if c.owns(rec) || c.is(rec.Subject) || c.is(rec.Approver) || c.Has(RoleOperator) {
		return true
	}
	return c.enforces() && slices.ContainsFunc(c.Audiences, func(audience string) bool {
		return len(mission.ForAudience(rec.AuthoritySet, audience)) > 0
	})
}

// enforces reports whether the caller decides or enforces what missions allow.
func (c Caller) enforces() bool { return c.Has(RolePDP) || c.Has(RolePEP) || c.Has(RoleResourceAS) }

// mayOperate is the lifecycle grant. Subject and approver may always revoke; the client may say that it is done;
// lifting a suspension is a grant of its own.
func (c Caller) mayOperate(op mission.Operation, rec *mission.Record) bool {
	switch op {
	case mission.OpRevoke:
		return c.Has(RoleOperator) || c.is(rec.Subject) || c.is(rec.Approver)
	case mission.OpSuspend:
		return c.Has(RoleOperator)
	case mission.OpComplete:
		return c.Has(RoleOperator) || c.owns(rec)
	case mission.OpResume:
		return c.Has(RoleOperator) && c.Has(RoleResume)
	}
	return false
}
