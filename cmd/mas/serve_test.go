package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/mission"
)

// TestServe runs `mas serve` with TLS, encrypted keys and a configuration file: a mission can be proposed, and nobody
// can approve it, because people cannot log in yet.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	listen := listenAddress(t)
	issuer := "https://" + listen
	if err := domain.InitDev(filepath.Join(dir, "local"), issuer, domain.DevCeiling); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "passphrase"), "a passphrase for a test\n")
	if err := keys.Generate(filepath.Join(dir, "keys"), []byte("a passphrase for a test")); err != nil {
		t.Fatal(err)
	}
	roots := writeCertificate(t, dir)
	config := filepath.Join(dir, "mas.yaml")
	writeFile(t, config, `issuer: `+issuer+`
listen: `+listen+`
tls: {cert: cert.pem, key: key.pem}
store: {dir: store}
keys: {checkpoint: keys/checkpoint.pem, receipts: keys/receipts.pem, issuer: keys/issuer.pem,
       evidence: keys/evidence.pem, governance: keys/governance.pem, root: keys/root.key, passphrase_file: passphrase}
principals: local/principals.json
`)
	cmd := exec.Command(program(t, ""), "serve", "--config", config)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("serve ended with %v", err)
		}
	}()
	act := func(name string) *client.Client {
		c := localClient(t, filepath.Join(dir, "local"), issuer, name)
		c.HTTP.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		return c
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := act("agent").Get(t.Context(), "/readyz"); err == nil {
			break
		} else if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("serve is not ready: %v\n%s", err, text)
		}
	}
	time.Sleep(time.Second) // assertions from the second of the start are refused
	if id, err := newMission(t.Context(), act("agent"), act("approver")); client.Code(err) != "no_person_authentication" {
		t.Errorf("approving without a login made mission %q: %v", id, err)
	}
	plain, err := http.Get("http://" + listen + "/readyz")
	if err == nil {
		defer plain.Body.Close()
		if plain.StatusCode == http.StatusOK {
			t.Error("the server answers without TLS")
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// localClient acts as a local principal with the keys of a development directory.
func localClient(t *testing.T, dir, issuer, name string) *client.Client {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "clients.json"))
	if err != nil {
		t.Fatal(err)
	}
	dev := domain.Dev{Issuer: issuer}
	if err := mission.Decode(text, &dev.Clients); err != nil {
		t.Fatal(err)
	}
	c, err := dev.Client(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// writeCertificate makes a certificate for the loopback address and returns what trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, filepath.Join(dir, "cert.pem"), string(certificate))
	writeFile(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return roots
}
