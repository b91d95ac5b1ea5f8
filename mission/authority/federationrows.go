package authority

import (
	"strconv"

	"github.com/mission-authority/mas/mission"
)

// The rows of the federation half. Those named peer/, head/, agreement/, ceiling/, coupling/ and seen/ are functions of
// their feed and Rebuild recomputes them; the others are indexes, counters and idempotency rows.
//
//	peer/<peer>                        what the registry says about a peer
//	head/<peer>/<origin>               newest proven head of the peer's log
//	agreement/<id>                     agreementState
//	ceiling/<peer>                     the ceiling that a person approved
//	asked/<peer>                       the ceiling that a person was last asked to approve
//	drawn/<peer>                       counter of local missions under the ceiling that are not over
//	hour/<peer>/<hour>                 counter of local missions drawn down in an hour
//	introduction/<digest>              introductionState, by the digest of the secret
//	introduced/<client>/<request id>   idempotency of introductions
//	conveyed/<peer>/<mission>          the peer may ask about the mission
//	served/<peer>/<mission>/<version>  the peer was told about this version
//	projected/<peer>/<request id>      idempotency of projections
//	projection/<jti>                   projectionState
//	derived/<peer>/<projection jti>    the receipt that stands on a projection
//	derivations/<mission>/<entry>      counter of local missions that stand on an approved entry
//	consumed/<peer>/<jti>              a projection that was used here
//	mint/<client>/<request id>         idempotency of local missions
//	coupling/<mission>                 couplingState, fixed at the mint
//	seen/<mission>                     federation.Seen
//	coupled/<mission>                  local missions that the worker looks after; tombstone when settled
//	outbox/<mission>/<event>           a derivation receipt that the origin has not acknowledged

const (
	peerPrefix    = "peer/"
	coupledPrefix = "coupled/"
)

func peerRow(id string) string         { return peerPrefix + id }
func headRow(p *peer) string           { return join("head", p.id, p.Peer.Log.Origin, p.Peer.Log.Genesis) }
func agreementRow(id string) string    { return join("agreement", id) }
func ceilingRow(p *peer) string        { return join("ceiling", p.id) }
func askedRow(p *peer) string          { return join("asked", p.id) }
func drawnRow(p *peer) string          { return join("drawn", p.id) }
func hourRow(p *peer, hour int) string { return join("hour", p.id, strconv.Itoa(hour)) }

func introductionRow(secret mission.Digest) string { return join("introduction", string(secret)) }

func conveyedRow(p *peer, id mission.ID) string { return join("conveyed", p.id, string(id)) }

func servedRow(p *peer, id mission.ID, version uint64) string {
	return join("served", p.id, string(id), strconv.FormatUint(version, 10))
}

func projectionRow(jti string) string          { return join("projection", jti) }
func derivedRow(p *peer, jti string) string    { return join("derived", p.id, jti) }
func consumedRow(p *peer, jti string) string   { return join("consumed", p.id, jti) }
func couplingRow(id mission.ID) string         { return join("coupling", string(id)) }
func seenRow(id mission.ID) string             { return join("seen", string(id)) }
func coupledRow(id mission.ID) string          { return coupledPrefix + string(id) }
func outboxRow(id mission.ID, e string) string { return join("outbox", string(id), e) }

func derivationsRow(id mission.ID, source mission.Digest) string {
	return join("derivations", string(id), string(source))
}
