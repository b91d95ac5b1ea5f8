package badgerstore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

const shred = "s/shred"

var rootKey = [32]byte{9}

func openVault(t *testing.T, disk *journaltest.Disk) *badgerstore.Vault {
	t.Helper()
	v, err := badgerstore.OpenVault(disk, shred, rootKey)
	if err != nil {
		t.Fatalf("opening the vault: %v", err)
	}
	return v
}

func bodyOf(i int) ([]byte, ledger.Hash) {
	body := fmt.Appendf(nil, "evidence %d", i)
	return body, sha256.Sum256(body)
}

func sealAll(t *testing.T, v *badgerstore.Vault, n int) (sealed [][]byte) {
	t.Helper()
	for i := range n {
		body, digest := bodyOf(i)
		s, err := v.Seal(digest, body)
		if err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, s)
	}
	return sealed
}

func TestVaultOpensWhatItSealed(t *testing.T) {
	disk := journaltest.NewDisk()
	v := openVault(t, disk)
	sealed := sealAll(t, v, 2000) // several chunks
	for life := range 3 {
		slots := make(map[string]bool)
		for i, s := range sealed {
			n := i
			if i >= 2000 {
				n = (i - 2000) % 3
			}
			body, digest := bodyOf(n)
			got, err := v.Open(digest, s)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("life %d, body %d: %q, %v", life, i, got, err)
			}
			if slots[string(s[1:9])] {
				t.Fatalf("life %d: key of body %d was used before", life, i)
			}
			slots[string(s[1:9])] = true
			if bytes.Contains(s, body) {
				t.Fatal("a sealed body shows what is in it")
			}
		}
		v.Close()
		v = openVault(t, disk)
		sealed = append(sealed, sealAll(t, v, 3)...)
	}
	for i := range 3 {
		body, digest := bodyOf(i)
		if bytes.Contains(disk.ReadFile(shred+"/keys"), body) || bytes.Contains(disk.ReadFile(shred+"/keys"), digest[:]) {
			t.Error("the key file says whose keys are in it")
		}
	}
}

func TestVaultRefusesWhatItDidNotSeal(t *testing.T) {
	v := openVault(t, journaltest.NewDisk())
	sealed := sealAll(t, v, 2)
	_, digest := bodyOf(0)
	_, other := bodyOf(1)
	if _, err := v.Open(other, sealed[0]); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("under another digest: %v", err)
	}
	for i := range sealed[0] {
		bad := bytes.Clone(sealed[0])
		bad[i] ^= 1
		if _, err := v.Open(digest, bad); !errors.Is(err, ledger.ErrIntegrity) {
			t.Errorf("octet %d changed: %v", i, err)
		}
	}
	for n := range sealed[0] {
		if _, err := v.Open(digest, sealed[0][:n]); !errors.Is(err, ledger.ErrIntegrity) {
			t.Errorf("cut to %d octets: %v", n, err)
		}
	}
}

// TestSlotsCannotBeExchanged copies one slot over another: the key is bound to its place.
func TestSlotsCannotBeExchanged(t *testing.T) {
	disk := journaltest.NewDisk()
	v := openVault(t, disk)
	sealed := sealAll(t, v, 2)
	data := disk.ReadFile(shred + "/keys")
	copy(data[512:576], data[576:640])
	disk.WriteFile(shred+"/keys", data)
	v = openVault(t, disk)
	_, digest := bodyOf(0)
	if _, err := v.Open(digest, sealed[0]); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("Open with an exchanged slot = %v", err)
	}
}

func TestErase(t *testing.T) {
	disk := journaltest.NewDisk()
	v := openVault(t, disk)
	sealed := sealAll(t, v, 5)
	backup := disk.ReadFile(shred + "/keys")
	_, digest := bodyOf(2)
	_, other := bodyOf(3)
	if err := v.Erase(other, sealed[2]); !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatalf("erasing under another digest = %v", err)
	}
	if err := v.Erase(digest, sealed[2]); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		for i, s := range sealed {
			_, d := bodyOf(i)
			switch _, err := v.Open(d, s); {
			case i == 2 && !errors.Is(err, ledger.ErrErased):
				t.Fatalf("%s: the erased body: %v", what, err)
			case i != 2 && err != nil:
				t.Fatalf("%s: body %d: %v", what, i, err)
			}
		}
	}
	check("at once")
	if err := v.Erase(digest, sealed[2]); err != nil {
		t.Fatalf("erasing twice: %v", err)
	}
	v.Close()
	v = openVault(t, disk)
	check("reopened")
	v.Close()
	disk.WriteFile(shred+"/keys", backup)
	v = openVault(t, disk)
	check("key file restored from a backup")
	if bytes.Equal(disk.ReadFile(shred+"/keys"), backup) {
		t.Error("the key is still in the restored file")
	}
}

// TestVaultFaults breaks every operation in every way: no key is used twice, every body sealed opens, and what was
// erased stays erased.
func TestVaultFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: the run without the race detector has it")
	}
	for _, fault := range journaltest.Faults {
		for _, keep := range journaltest.AllSurvivors {
			for at := 1; ; at++ {
				disk := journaltest.NewDisk()
				disk.FailAt(at, fault)
				f := &vaultFault{name: fmt.Sprintf("operation %d, %v, %v", at, fault, keep)}
				if v, err := badgerstore.OpenVault(disk, shred, rootKey); err == nil {
					f.script(v)
				}
				done := disk.Count() < at
				disk = disk.Restart(keep, rand.New(rand.NewPCG(uint64(at), 3)))
				f.check(t, openVault(t, disk))
				if done {
					break
				}
			}
		}
	}
}

type vaultFault struct {
	name   string
	sealed [][]byte
	number []int        // of the body in sealed
	erased map[int]bool // acknowledged
	maybe  map[int]bool
}

func (f *vaultFault) script(v *badgerstore.Vault) {
	f.erased, f.maybe = map[int]bool{}, map[int]bool{}
	for i := range 300 {
		body, digest := bodyOf(i)
		s, err := v.Seal(digest, body)
		if err != nil {
			continue
		}
		f.sealed, f.number = append(f.sealed, s), append(f.number, i)
		if n := len(f.sealed) - 1; n%100 == 5 {
			if v.Erase(digest, s) == nil {
				f.erased[n] = true
			}
			f.maybe[n] = true
		}
	}
}

func (f *vaultFault) check(t *testing.T, v *badgerstore.Vault) {
	t.Helper()
	fresh := sealAll(t, v, 2)
	slots := make(map[string]bool)
	for i, s := range append(fresh, f.sealed...) {
		if slots[string(s[1:9])] {
			t.Fatalf("%s: a key was used twice", f.name)
		}
		slots[string(s[1:9])] = true
		i -= len(fresh)
		if i < 0 {
			continue
		}
		_, digest := bodyOf(f.number[i])
		_, err := v.Open(digest, s)
		switch {
		case f.erased[i] && !errors.Is(err, ledger.ErrErased):
			t.Fatalf("%s: erased body %d: %v", f.name, i, err)
		case err != nil && !(f.maybe[i] && errors.Is(err, ledger.ErrErased)):
			t.Fatalf("%s: body %d: %v", f.name, i, err)
		}
	}
}
