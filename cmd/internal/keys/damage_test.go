package keys

import (
	"bytes"
	"os"
	"testing"
)

// TestDamagedKeyFile flips every bit of a key file. No flip may lead to another key. An Ed25519 file holds nothing but
// the seed and cannot show it; there the stored checkpoint does.
func TestDamagedKeyFile(t *testing.T) {
	dir := generate(t)
	path := RefsIn(dir).Signing[Issuer]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := openKey(Issuer, path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << bit
			if err := os.WriteFile(path, flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := openKey(Issuer, path, nil, nil)
			if err == nil && !bytes.Equal(k.thumbprint, want.thumbprint) {
				t.Fatalf("bit %d of octet %d: another key", bit, i)
			}
		}
	}
}
