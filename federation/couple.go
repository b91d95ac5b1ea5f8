package federation

import (
	"fmt"
	"slices"

	"github.com/mission-authority/mas/mission"
)

// CouplingHolds are the reasons that observations of an upstream set and release. Others (a missing receipt, an ended
// agreement, an operator) are not touched by them.
var CouplingHolds = []string{
	mission.HoldUpstreamUnverified, mission.HoldUpstreamSuspended, mission.HoldUpstreamNarrowed,
	mission.HoldUpstreamEquivocation, mission.HoldUpstreamRefused,
}

// Seen is what a receiver durably remembers of one upstream. Times are not part of it: what was fresh before a restart
// is not fresh after it.
type Seen struct {
	Version     uint64         `json:"version"`
	State       mission.State  `json:"state"`
	Report      mission.Digest `json:"report"`    // of the mission member, without fresh_until and status_list
	Entries     mission.Digest `json:"entries"`   // of authorization_details
	Agreement   mission.Digest `json:"agreement"` // under which they were conveyed
	Artifact    mission.Digest `json:"artifact"`  // the first answer at this version, kept as evidence
	Equivocated bool           `json:"equivocated,omitempty"`
}

// A Link is what was fixed when a local Mission was minted.
type Link struct {
	Upstream *mission.Upstream
	Entries  []mission.Entry // the local Authority Set
	Mint     *Mint           // Origin, Self and Mapping, for Held
	Ref      mission.AgreementRef
}

// ObservationKind says what came of a question.
type ObservationKind uint8

// The kinds of observation.
const (
	Silent   ObservationKind = iota // no answer, or one that is not authentic: it says nothing
	Refused                         // an unsigned 401, 403 or 404: the peer answers, and does not vouch
	Answered                        // an authentic status response
)

// An Observation is one look at an upstream.
type Observation struct {
	Kind     ObservationKind
	Status   *mission.Status // Answered
	Artifact mission.Digest  // Answered: of the compact form
	Usable   bool            // the answer (when silent: the last one) may be relied on now, see Usable
}

// An Effect is what an observation does to the local Mission.
type Effect struct {
	Ended   bool     // the upstream is over: the local Mission cascades
	Add     []string // reasons for which it is held from now on
	Release []string // reasons that no longer hold it
	New     bool     // first answer at this version: keep the artifact as evidence
	Alarm   bool     // the upstream contradicted itself, first seen now: keep both artifacts, tell the operator
}

// Couple is the coupling table. It returns what to remember and what to do; an effect that changes nothing is the zero
// Effect after the caller has dropped holds that are already there and releases of those that are not.
//
//	silent, last answer usable     nothing
//	silent, last answer not usable hold upstream_unverified
//	refused                        hold upstream_refused
//	contradiction                  hold upstream_equivocation, alarm; never released by an observation
//	terminal                       ended
//	suspended or held              hold upstream_suspended, release the others
//	unknown state                  hold upstream_unverified
//	active, not usable             hold upstream_unverified
//	active, another agreement      hold upstream_unverified
//	active, no longer containing   hold upstream_narrowed, release the others
//	active                         release all
func Couple(seen Seen, link Link, obs Observation) (Seen, Effect, error) {
	switch obs.Kind {
	case Silent:
		if obs.Usable {
			return seen, Effect{}, nil
		}
		return seen, Effect{Add: []string{mission.HoldUpstreamUnverified}}, nil
	case Refused:
		return seen, Effect{Add: []string{mission.HoldUpstreamRefused}}, nil
	}
	now, err := look(obs)
	if err != nil {
		return seen, Effect{}, err
	}
	if contradicts(seen, now, link, obs.Status) {
		alarm := !seen.Equivocated
		seen.Equivocated = true
		return seen, Effect{Add: []string{mission.HoldUpstreamEquivocation}, Alarm: alarm, New: alarm}, nil
	}
	now.Equivocated = seen.Equivocated
	effect := Effect{New: now.Version != seen.Version}
	if !effect.New {
		now.Artifact = seen.Artifact
	}
	if now.State.Terminal() {
		effect.Ended = true
		return now, effect, nil
	}
	reason, err := holdFor(link, obs)
	if err != nil {
		return seen, Effect{}, err
	}
	if reason != "" {
		effect.Add = []string{reason}
	}
	if seen.Equivocated {
		effect.Add = append(effect.Add, mission.HoldUpstreamEquivocation)
	}
	if obs.Usable {
		for _, r := range CouplingHolds {
			if r != reason && r != mission.HoldUpstreamEquivocation {
				effect.Release = append(effect.Release, r)
			}
		}
	}
	return now, effect, nil
}

// look reduces an answer to what is remembered.
func look(obs Observation) (Seen, error) {
	m := obs.Status.Mission
	m.FreshUntil, m.StatusList = "", nil
	report, err := mission.ObjectDigest(m)
	if err != nil {
		return Seen{}, fmt.Errorf("federation: couple: %w", err)
	}
	out := Seen{Version: m.Version, State: m.State, Report: report, Artifact: obs.Artifact,
		Entries: mission.RawDigest(obs.Status.AuthorizationDetails.Bytes())}
	if a := obs.Status.Agreement; a != nil {
		out.Agreement = a.Digest
	}
	return out, nil
}

// contradicts reports whether an answer cannot be true together with what was signed before: less than was already
// seen, one version with two contents, life after the end, or another Mission under the same name.
func contradicts(seen, now Seen, link Link, s *mission.Status) bool {
	if s.Mission.AuthorityHash != link.Upstream.AuthorityHash || s.Mission.ExpiresAt != link.Upstream.ExpiresAt ||
		s.Mission.Issuer != link.Upstream.Issuer || now.Version < link.Upstream.VersionAtMint {
		return true
	}
	switch {
	case seen.Version == 0:
		return false
	case now.Version < seen.Version:
		return true
	case now.Version == seen.Version:
		return now.Report != seen.Report || now.Agreement == seen.Agreement && now.Entries != seen.Entries
	}
	return seen.State.Terminal()
}

// holdFor returns the reason for which a non-terminal answer holds the local Mission, or "".
func holdFor(link Link, obs Observation) (string, error) {
	s := obs.Status
	switch {
	case s.Mission.State == mission.Suspended:
		return mission.HoldUpstreamSuspended, nil
	case s.Mission.State != mission.Active, !obs.Usable, s.Agreement == nil, *s.Agreement != link.Ref:
		return mission.HoldUpstreamUnverified, nil
	}
	inside, err := stillInside(link, s)
	if err != nil {
		return "", err
	}
	if !inside {
		return mission.HoldUpstreamNarrowed, nil
	}
	return "", nil
}

// stillInside reports whether the live entries still contain every local one.
func stillInside(link Link, s *mission.Status) (bool, error) {
	if s.AuthorizationDetails.IsZero() {
		return false, nil
	}
	live, _, err := mission.ParseConveyed(s.AuthorizationDetails.Bytes())
	if err != nil {
		return false, fmt.Errorf("federation: couple: %w", err)
	}
	return mission.SubsetOfSet(link.Entries, link.Mint.Held(live)) == nil, nil
}

// Verdict summarises what is believed about an upstream, for the log of changes: its state, or the reasons that hold.
func (e Effect) Verdict() string {
	switch {
	case e.Ended:
		return "ended"
	case len(e.Add) > 0:
		return slices.Max(e.Add)
	}
	return string(mission.Active)
}
