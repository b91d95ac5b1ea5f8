package badgerstore_test

import (
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

func small() badgerstore.Options {
	return badgerstore.Options{Root: [32]byte{1}, Origin: "a.example/log/1"}.Small()
}

func TestStore(t *testing.T) {
	ledgertest.TestStore(t, func(t *testing.T) ledgertest.Place {
		dir := t.TempDir()
		return func() (ledger.Store, error) { return badgerstore.Open(dir, small()) }
	})
}
