package domaintest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger"
)

// docs is the directory of the documents, from here.
const docs = "../../../docs"

var metricName = regexp.MustCompile(`\bmas_[a-z_]+\b`)

// TestAlertsNameMetrics: the metrics in alerts.yaml and operations.md are those of a running server and of a follower.
func TestAlertsNameMetrics(t *testing.T) {
	d := domaintest.New(t)
	var text strings.Builder
	if err := d.WriteMetrics(&text); err != nil {
		t.Fatal(err)
	}
	served := text.String()
	// A follower has metrics of its own, and those of witnesses are there with a policy.
	var elsewhere strings.Builder
	for _, path := range []string{"../../mas/follow.go", "../domain/witness.go"} {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere.Write(source)
	}
	known := func(name string) bool {
		base := strings.TrimSuffix(name, "_bucket")
		return strings.Contains(served, "# TYPE "+base+" ") || strings.Contains(elsewhere.String(), strconv.Quote(base))
	}
	for _, file := range []string{"alerts.yaml", "operations.md"} {
		text, err := os.ReadFile(filepath.Join(docs, file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(text), -1)
		if len(names) < 15 {
			t.Fatalf("%s names only %d metrics", file, len(names))
		}
		for _, name := range names {
			if !known(name) {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// TestStopsOutliveTheLog is the drill of the emergency-stop journal: with the log closed a stop is ordered and in
// force, and it is there after the next start.
func TestStopsOutliveTheLog(t *testing.T) {
	d := domaintest.New(t)
	for _, who := range []string{"admin", "admin-2"} {
		if _, err := d.Client(t, who).Post(t.Context(), "/v1/log/freeze", map[string]string{
			"successor": "127.0.0.1/log/drill", "reason": "drill"}); err != nil {
			t.Fatal(err)
		}
	}
	stop := ledger.Stop{Kind: ledger.StopMission, ID: "msn_drill", Actor: "operator", At: time.Now()}
	if err := d.Log.Stops().Stop(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	if _, stopped := d.Log.Stops().Stopped(ledger.StopMission, "msn_drill"); !stopped {
		t.Error("the stop is not in force")
	}
	_ = d.Stop()
	again := domaintest.Start(t, d.Dir, d.Config)
	if _, stopped := again.Log.Stops().Stopped(ledger.StopMission, "msn_drill"); !stopped {
		t.Error("the stop did not outlive the log")
	}
}
