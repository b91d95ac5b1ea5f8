package ledgertest_test

import (
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

func TestMemoryStore(t *testing.T) {
	ledgertest.TestStore(t, func(*testing.T) ledgertest.Place {
		m := ledgertest.NewMemory()
		return func() (ledger.Store, error) { return m.Open(), nil }
	})
}
