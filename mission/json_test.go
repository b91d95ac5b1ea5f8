package mission_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gowebpki/jcs"
	"github.com/mission-authority/mas/mission"
)

var sample = []byte(`{"goal":"Reconcile Q3 invoices <&> \u2028","resources":["https://erp.example.com","https://crm.example.com/a/b"],` +
	`"expires_at":"2026-12-31T23:59:59Z","n":[1,2.5,1e3,-0,0.000001,1e-7],"o":{"b":true,"a":null,"\ud83d\ude00":1,"\ufb33":2},` +
	`"constraints":["one","two","three"],"x":[{"type":"mission_resource_access","resource":"https://erp.example.com","actions":["invoices.read","a.b.c"]}]}`)

func TestCanonicalAgreesWithTwoOthers(t *testing.T) {
	got, err := mission.Canonical(sample)
	if err != nil {
		t.Fatal(err)
	}
	want, err := jcs.Transform(sample)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	v := jsontext.Value(bytes.Clone(sample))
	if err := v.Canonicalize(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, v) {
		t.Errorf("got  %s\nwant %s", got, v)
	}
}

func BenchmarkCanonical(b *testing.B) {
	doc := bigSample()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mission.Canonical(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func bigSample() []byte {
	doc, _ := json.Marshal(map[string]any{"list": []json.RawMessage{sample, sample, sample}, "n": 1})
	return doc
}
