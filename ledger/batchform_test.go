package ledger_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

func TestBatchOfStatements(t *testing.T) {
	list := [][]byte{[]byte("one"), {}, mustSign(t, validClaims(), newSigner(t, p256Key(t, 4)))}
	data, err := ledger.MarshalStatements(list)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.ParseStatements(data)
	if err != nil || !slices.EqualFunc(got, list, bytes.Equal) {
		t.Errorf("%x, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "an empty batch": {0x80}, "a map": {0xa0}, "text": {0x81, 0x61, 'a'}, "a trailing octet": append(bytes.Clone(data), 0),
		"an indefinite array": {0x9f, 0x40, 0xff}, "257 statements": append([]byte{0x99, 1, 1}, make([]byte, 300)...),
		"a missing statement": {0x82, 0x40},
	} {
		if _, err := ledger.ParseStatements(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, list := range [][][]byte{nil, make([][]byte, 257), {make([]byte, ledger.MaxStatementsLen)}} {
		if _, err := ledger.MarshalStatements(list); !errors.Is(err, ledger.ErrTooLarge) {
			t.Errorf("%d statements: %v", len(list), err)
		}
	}
	if _, err := ledger.ParseStatements(make([]byte, ledger.MaxStatementsLen+1)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
}

func TestBatchOfRegistrations(t *testing.T) {
	list := []ledger.Registration{
		{Status: 201, Outcome: "registered", Entry: ledger.Hash{1}, Index: 7},
		{Status: 200, Outcome: "recommitted", Entry: ledger.Hash{2}},
		{Status: 303, Outcome: "promised", Entry: ledger.Hash{3}},
		{Status: 400, Outcome: "malformed"},
	}
	data, err := ledger.MarshalRegistrations(list)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ledger.ParseRegistrations(data); err != nil || !slices.Equal(got, list) {
		t.Errorf("%+v, %v", got, err)
	}
	for cut := range data {
		if _, err := ledger.ParseRegistrations(data[:cut]); err == nil {
			t.Errorf("first %d octets: accepted", cut)
		}
	}
	for _, bad := range [][]ledger.Registration{nil, make([]ledger.Registration, 257), {{Status: 201}}} {
		if _, err := ledger.MarshalRegistrations(bad); err == nil {
			t.Errorf("%d registrations: accepted", len(bad))
		}
	}
}

func FuzzParseStatements(f *testing.F) {
	f.Add([]byte{0x82, 0x40, 0x41, 0x00})
	f.Add([]byte{0x81, 0x84, 0x18, 0xc9, 0x61, 'r', 0xf6, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		if list, err := ledger.ParseStatements(data); err == nil {
			if again, err := ledger.MarshalStatements(list); err != nil || !bytes.Equal(again, data) {
				t.Errorf("accepted %x, canonical is %x, %v", data, again, err)
			}
		}
		if list, err := ledger.ParseRegistrations(data); err == nil {
			if again, err := ledger.MarshalRegistrations(list); err != nil || !bytes.Equal(again, data) {
				t.Errorf("accepted %x, canonical is %x, %v", data, again, err)
			}
		}
	})
}
