package authority

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mission-authority/mas/mission"
)

// The rows of this package, by key. A component that comes from outside is escaped with url.PathEscape, so that no two
// names share a key; ids of ours have an alphabet that needs no escaping.
//
//	principals                          digest of the principals in force and the entry that logs it
//	mission/<id>/record                 digest of the approved record; the record itself is a vault body
//	mission/<id>/state                  mission.Standing, canonical JSON
//	submission/<id>                     what was submitted, by digest, and who may decide it
//	outcome/<submission id>             how it ended; absent while it is pending
//	pending/<client>/<approver>         counter of pending submissions
//	queue/<approver>/<time>/<id>        review queue; tombstone when decided
//	due/<time>/<kind>/<id>              deadlines of missions and submissions; tombstone when served
//	creation/<client>/<request id>      idempotency of submissions: fingerprint and stored answer
//	nonce/<client>/<mission>/<nonce>    idempotency of lifecycle requests: fingerprint and stored answer
//	sequence/<approver>                 counter of the approver's decisions
//
// Rows named mission/, submission/, outcome/ and principals are pure functions of their feed: Rebuild recomputes them.
// The others are indexes, counters and idempotency rows. The rows of the border are in federationrows.go.

const (
	principalsRow = "principals"
	queuePrefix   = "queue/"
	duePrefix     = "due/"
	missionPrefix = "mission/"
)

// join makes a key of a table name and escaped components.
func join(table string, parts ...string) string {
	var b strings.Builder
	b.WriteString(table)
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

func recordRow(id mission.ID) string { return missionPrefix + string(id) + "/record" }
func stateRow(id mission.ID) string  { return missionPrefix + string(id) + "/state" }
func isStateRow(key string) bool {
	return strings.HasPrefix(key, missionPrefix) && strings.HasSuffix(key, "/state")
}

func submissionRow(id mission.SubmissionID) string { return "submission/" + string(id) }
func outcomeRow(id mission.SubmissionID) string    { return "outcome/" + string(id) }

func pendingRow(client, approver string) string { return join("pending", client, approver) }
func sequenceRow(approver string) string        { return join("sequence", approver) }

func creationRow(client, request string) string { return join("creation", client, request) }

func nonceRow(client string, id mission.ID, nonce string) string {
	return join("nonce", client, string(id), nonce)
}

// queueRow orders an approver's queue by the time of submission.
func queueRow(approver string, at time.Time, id mission.SubmissionID) string {
	return join("queue", approver, sortable(at), string(id))
}

// The kinds of due row.
const (
	dueMission    = "mission"
	dueSubmission = "submission"
)

// dueRow orders deadlines by time; a deadline is due at its instant, not after it.
func dueRow(at time.Time, kind, id string) string {
	return join("due", sortable(at), kind, id)
}

// parseDue is the inverse of dueRow.
func parseDue(key string) (at time.Time, kind, id string, err error) {
	parts := strings.Split(key, "/")
	if len(parts) != 4 || parts[0] != "due" {
		return time.Time{}, "", "", fmt.Errorf("authority: malformed due row")
	}
	at, err = time.Parse(sortableLayout, parts[1])
	if err != nil {
		return time.Time{}, "", "", fmt.Errorf("authority: malformed due row: %w", err)
	}
	return at, parts[2], parts[3], nil
}

const sortableLayout = "20060102T150405.000Z"

// sortable renders a time so that byte order is time order (years 0000 to 9999), in milliseconds, rounded up: a row is
// never served before its instant.
func sortable(t time.Time) string {
	t = t.UTC()
	if r := t.Truncate(time.Millisecond); !r.Equal(t) {
		t = r.Add(time.Millisecond)
	}
	return t.Format(sortableLayout)
}
