package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/witness"
	"github.com/mission-authority/mas/mission"
)

// Witnesses: what this log says about the heads it publishes, and this server as a witness of other logs
// (https://c2sp.org/tlog-witness). Requests to a witness carry no proof of identity but the log's signature.

// witnessRoutes are those of a server that is a witness.
func (a *API) witnessRoutes(base string) []route {
	if a.config.Witness == nil {
		return nil
	}
	return []route{
		{method: http.MethodPost, path: base + "/witness/add-checkpoint", public: true, run: a.addCheckpoint,
			limit: ledger.MaxAddCheckpointSize},
		{method: http.MethodGet, path: base + "/witness/:hash/checkpoint", public: true, run: a.getWitnessed},
	}
}

// addCheckpoint answers with a cosignature, or with a status that the specification fixes.
func (a *API) addCheckpoint(c *call) (reply, error) {
	body, err := io.ReadAll(io.LimitReader(c.req.Body, ledger.MaxAddCheckpointSize+1))
	if err != nil {
		return reply{}, errMalformed
	}
	answer := a.config.Witness.Add(body) // refuses what is too large
	return reply{status: answer.Status, contentType: answer.ContentType, body: answer.Body}, nil
}

// getWitnessed serves the newest checkpoint of a log that this witness has cosigned.
func (a *API) getWitnessed(c *call) (reply, error) {
	text, ok := a.config.Witness.Checkpoint(c.param("hash"))
	if !ok {
		return reply{}, errNotFound
	}
	return tagged(reply{contentType: mediaNote, body: text, header: http.Header{"Cache-Control": {"public, max-age=1"}}}), nil
}

// heads says how far the log is published.
func (a *API) heads() ledger.Heads {
	if a.config.Heads == nil {
		return ledger.DurableHeads(a.config.Log)
	}
	return a.config.Heads
}

// bundleWait is how long a bundle waits for a quorum that covers its mission.
const bundleWait = 3 * time.Second

// evidenceView is the view that a bundle about a mission is made from: the newest witnessed head, which soon has what
// is published, if it has every entry of the mission, else the published one. Closing it is the caller's.
func (a *API) evidenceView(ctx context.Context, id string) (ledger.View, error) {
	v, err := a.view()
	if err != nil || a.config.Heads == nil || !a.config.Heads.Claimed() {
		return v, err
	}
	subject, err := ledger.MissionSubject(a.config.Issuer, id)
	if err != nil {
		v.Close()
		return nil, errNotFound
	}
	need := uint64(2) // receipts begin there
	for index, err := range v.Feed(subject, -1) {
		if err != nil {
			v.Close()
			return nil, logError(err)
		}
		need = max(need, index+1)
	}
	wait, cancel := context.WithTimeout(ctx, bundleWait)
	defer cancel()
	if a.config.Heads.AwaitWitnessed(wait, v.Head().Size) != nil && !a.config.Heads.Current().Covers(need) {
		return v, nil
	}
	witnessed, err := a.config.Heads.Witnessed()
	if err != nil {
		return v, nil
	}
	v.Close()
	return witnessed, nil
}

// published is the part of /readyz about a log that has witnesses.
type published struct {
	Publish   string   `json:"publish"`
	Published uint64   `json:"published_size"`
	Witnessed uint64   `json:"witnessed_size"`
	At        string   `json:"witnessed_at,omitempty"` // when a quorum had cosigned
	Claims    []string `json:"claims"`
}

// witnessed says how far the log is published and witnessed; nil if it has no witnesses.
func (a *API) witnessed() *published {
	if a.config.Heads == nil || !a.config.Heads.Claimed() {
		return nil
	}
	s, err := a.config.Heads.State()
	if err != nil {
		return nil
	}
	out := &published{Publish: s.Policy(), Published: s.Published, Witnessed: s.Witnessed, Claims: []string{}}
	if s.Witnessed > 0 {
		out.At, out.Claims = mission.FormatTime(s.At), claimsOfWitnesses
	}
	return out
}

// unpublished are the reasons of the witnesses not to be ready.
func (a *API) unpublished() []string {
	if a.config.Heads == nil {
		return nil
	}
	s, err := a.config.Heads.State()
	if err != nil {
		return nil // the log itself is the reason
	}
	var reasons []string
	switch {
	case s.Ahead != "":
		reasons = append(reasons, "witness:ahead")
	case s.FailClosed && s.Stalled:
		reasons = append(reasons, "witness:unpublished")
	}
	return reasons
}

// What a log without witnesses does not prove, and one whose heads a quorum of independent witnesses has cosigned does,
// for those heads.
var claimsOfWitnesses = []string{"non_equivocation", "rollback_of_the_whole_directory", "independent_time"}

// A namedWitness is a witness of this log, in the metadata.
type namedWitness struct {
	Name string `json:"name"`
	VKey string `json:"vkey"`
}

// describeWitnesses writes what the metadata tells about witnesses.
func (a *API) describeWitnesses(m *metadata) {
	m.LogClaimsNotMade = claimsOfWitnesses
	if a.config.Heads == nil || !a.config.Heads.Claimed() {
		return
	}
	m.LogClaims, m.LogClaimsNotMade = claimsOfWitnesses, []string{}
	m.LogPublish = witness.State{FailClosed: a.config.Heads.FailClosed()}.Policy()
	for _, w := range a.config.Heads.Witnesses() {
		m.LogWitnesses = append(m.LogWitnesses, namedWitness{w.Name, w.VKey})
	}
}
