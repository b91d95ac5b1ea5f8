package authority_test

import (
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/missiontest"
)

func TestParsePrincipals(t *testing.T) {
	ps, err := authority.ParsePrincipals([]byte(principalsJSON()))
	if err != nil {
		t.Fatal(err)
	}
	agent, ok := ps.ByClient("agent-1")
	if !ok || agent.ID != "agent-1" || !agent.Has(authority.RoleClient) || agent.Has(authority.RoleAdmin) {
		t.Fatalf("agent-1: %+v, %v", agent, ok)
	}
	if p, ok := ps.ByKey(missiontest.Key("agent-1").KeyID()); !ok || p != agent {
		t.Errorf("the key leads to %+v, %v", p, ok)
	}
	if p, ok := ps.ByID("agent-1"); !ok || p != agent {
		t.Errorf("the id leads to %+v, %v", p, ok)
	}
	for _, find := range []func(string) (*authority.Principal, bool){ps.ByClient, ps.ByID, ps.ByKey} {
		if p, ok := find("nobody"); ok || p != nil {
			t.Errorf("nobody is %+v", p)
		}
	}
	canonical, err := mission.Canonical([]byte(principalsJSON()))
	if err != nil || ps.Digest() != mission.RawDigest(canonical) {
		t.Errorf("digest %s, %v", ps.Digest(), err)
	}
}

func TestParsePrincipalsRefuses(t *testing.T) {
	human := `"kind":"human","roles":["approver"],"subject":{"iss":"i","sub":"s"}`
	client := `"kind":"service","roles":["client"],"subject":{"iss":"i","sub":"s"}`
	source := `,"authority_source":{"type":"user_delegated","id":"x"}`
	for name, list := range map[string][]string{
		"nobody":                      {},
		"unknown member":              {principal("a", `"kind":"service","roles":["pep"],"admin":true`)},
		"unknown kind":                {principal("a", `"kind":"robot","roles":["pep"]`)},
		"unknown role":                {principal("a", `"kind":"service","roles":["root"]`)},
		"repeated role":               {principal("a", `"kind":"service","roles":["pep","pep"]`)},
		"no role":                     {principal("a", `"kind":"service","roles":[]`)},
		"id with a slash":             {principal("a/b", `"kind":"service","roles":["pep"]`)},
		"id in capitals":              {principal("A", `"kind":"service","roles":["pep"]`)},
		"same id":                     {principal("a", human), principal("a", human)},
		"key without client_id":       {strings.Replace(principal("a", human), `"client_id":"a",`, "", 1)},
		"same client_id":              {principal("a", human), strings.Replace(principal("b", client), `"client_id":"b"`, `"client_id":"a"`, 1)},
		"client_id of another's id":   {`{"id":"a",` + human + `}`, strings.Replace(principal("b", `"kind":"service","roles":["pep"]`), `"client_id":"b"`, `"client_id":"a"`, 1)},
		"same key":                    {principal("a", human), strings.ReplaceAll(principal("b", client), keyOf("b"), keyOf("a"))},
		"private key":                 {strings.Replace(principal("a", human), `"crv"`, `"d":"AAAA","crv"`, 1)},
		"approver without a subject":  {principal("a", `"kind":"human","roles":["approver"]`)},
		"approver that is no person":  {principal("a", `"kind":"service","roles":["approver"],"subject":{"iss":"i","sub":"s"}`)},
		"approver that administrates": {principal("a", strings.Replace(human, `["approver"]`, `["approver","admin"]`, 1))},
		"approver that is a client":   {principal("a", strings.Replace(human, `["approver"]`, `["approver","client"]`, 1))},
		"resume alone":                {principal("a", `"kind":"service","roles":["resume"]`)},
		"two people as one subject":   {principal("a", human), principal("b", human)},
		"ceiling without a source":    {principal("a", human), principal("b", client+`,"ceiling":`+ceilingJSON)},
		"ceiling of no client": {principal("a", human), principal("b", strings.Replace(client, "client", "pep", 1)+source+
			`,"ceiling":`+ceilingJSON)},
		"malformed ceiling":             {principal("a", human), principal("b", client+source+`,"ceiling":[{"type":"x"}]`)},
		"delegation by nobody":          {principal("b", client+source)},
		"service owned person":          {principal("a", human), principal("b", client+`,"authority_source":{"type":"service_owned","id":"x"}`)},
		"organizational":                {principal("b", client+`,"authority_source":{"type":"organizational","id":"x"}`)},
		"evidence types of no producer": {principal("a", `"kind":"service","roles":["pep"],"evidence_types":["x"]`)},
		"approves subject and class":    {principal("a", human+`,"approves":[{"subject":{"iss":"i","sub":"s"},"class":"c"}]`)},
		"duplicate member":              {principal("a", `"kind":"human",`+human)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := authority.ParsePrincipals([]byte("[" + strings.Join(list, ",") + "]")); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// keyOf is the part of the principal's JWK that names and makes its key.
func keyOf(id string) string {
	text := principal(id, "")
	_, key, _ := strings.Cut(text, `"keys":[`)
	key, _, _ = strings.Cut(key, `]`)
	return key
}

func FuzzParsePrincipals(f *testing.F) {
	f.Add([]byte(principalsJSON()))
	f.Add([]byte(`[{"id":"a","kind":"human","roles":["approver"],"subject":{"iss":"i","sub":"s"}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ps, err := authority.ParsePrincipals(data)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, p := range ps.All() {
			if seen[p.ID] {
				t.Fatalf("id %s twice", p.ID)
			}
			seen[p.ID] = true
			if found, ok := ps.ByClient(p.ClientID); p.ClientID != "" && (!ok || found != p) {
				t.Fatalf("client_id of %s leads elsewhere", p.ID)
			}
			if (p.ClientID == "") != (p.Keys() == nil) {
				t.Fatalf("%s has a client_id and no keys, or the reverse", p.ID)
			}
			if p.Has(authority.RoleApprover) && (p.Kind != authority.KindHuman || p.Has(authority.RoleAdmin)) {
				t.Fatalf("%s may approve", p.ID)
			}
		}
	})
}
