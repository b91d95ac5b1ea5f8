package oracle

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
)

// tiles is a log as Tessera's witness client reads it.
type tiles struct{ *reader }

func (tiles) ReadCheckpoint(context.Context) ([]byte, error) { return nil, os.ErrNotExist }
func (r tiles) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	return r.get(ctx, layout.TilePath(level, index, p))
}
func (tiles) ReadEntryBundle(context.Context, uint64, uint8) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
func (tiles) NextIndex(context.Context) (uint64, error)      { return 0, errors.ErrUnsupported }
func (tiles) IntegratedSize(context.Context) (uint64, error) { return 0, errors.ErrUnsupported }

// TestTesseraWitnessClient has Tessera's client show the heads of a growing log to our witness: a peer's server.
func TestTesseraWitnessClient(t *testing.T) {
	p := domaintest.NewPair(t)
	first, second := p.First, p.Second
	signer, _, err := first.Keys.Key(keys.Checkpoint).Note(first.Config.LogOrigin())
	if err != nil {
		t.Fatal(err)
	}
	policy := "witness w " + second.WitnessVKey + " " + second.Issuer + "/witness\nquorum w\n"
	group, err := tessera.NewWitnessGroupFromPolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{client: first.Client(t, "auditor"), vkey: first.VKey, origin: first.Config.LogOrigin()}
	publish := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithWitnesses(group, nil).
		CheckpointPublisher(tiles{r}, http.DefaultClient)
	ours, err := ledger.ParseWitnessPolicy([]byte("log " + first.VKey + "\n" + policy))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 10, 300} {
		first.Register(t, n)
		head := r.checkpoint(t)
		cosigned, err := publish(t.Context(), uint64(head.N), head.Hash[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(cosigned, note.VerifierList(ours.Witnesses[0].Verifier)); err != nil {
			t.Errorf("size %d: %v", head.N, err)
		}
		if got, err := ours.Open(cosigned); err != nil || !got.Quorum || got.Size != uint64(head.N) {
			t.Errorf("size %d: %+v, %v", head.N, got, err)
		}
	}
}
