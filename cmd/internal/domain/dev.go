package domain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/evidence"
)

// Files of a development directory.
const (
	keysDir        = "keys"
	principalsFile = "principals.json"
	clientsFile    = "clients.json" // private keys of the local principals, mode 0600
	devFile        = "dev.json"     // written when the server is ready, mode 0600
)

// A Credential is what a script needs to act as a principal of a development server.
type Credential struct {
	ClientID string     `json:"client_id"`
	JWK      client.JWK `json:"jwk"`
	// Statement is what a producer signs statements with.
	Statement *StatementKey `json:"statement,omitempty"`
}

// A StatementKey signs statements of one issuer.
type StatementKey struct {
	Issuer string     `json:"issuer"` // CWT iss
	JWK    client.JWK `json:"jwk"`
}

// Signer signs statements.
func (k *StatementKey) Signer() (ledger.Signer, error) {
	private, err := k.JWK.Private()
	if err != nil {
		return nil, err
	}
	return ledger.NewSigner(private)
}

// Dev is dev.json: where a development server is, and the private keys of its local principals.
type Dev struct {
	Issuer         string                `json:"issuer"`
	Listen         string                `json:"listen"`
	LogOrigin      string                `json:"log_origin"`
	LogVKey        string                `json:"log_vkey"`
	JWKSURI        string                `json:"jwks_uri"`
	ReceiptKeysURI string                `json:"receipt_keys_uri"`
	Clients        map[string]Credential `json:"clients"`
}

// Client returns a client that acts as one of the local principals.
func (d *Dev) Client(name string) (*client.Client, error) {
	c, ok := d.Clients[name]
	if !ok {
		return nil, fmt.Errorf("no local principal %q", name)
	}
	key, err := c.JWK.Signer()
	if err != nil {
		return nil, fmt.Errorf("local principal %q: %w", name, err)
	}
	return client.New(d.Issuer, c.ClientID, key), nil
}

// ReadDev reads the dev.json of a directory. A server that is not ready has none.
func ReadDev(dir string) (*Dev, error) {
	text, err := os.ReadFile(filepath.Join(dir, devFile))
	if err != nil {
		return nil, err
	}
	d := new(Dev)
	if err := mission.Decode(text, d); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, devFile), err)
	}
	return d, nil
}

// DevCeiling is what the local agents of a development server may ask for at most, unless its principals.json is
// edited.
const DevCeiling = `[{
	"type": "mission_resource_access",
	"resource": "https://api.example.com",
	"resource_match": "prefix",
	"actions": ["invoices.*", "payments.*", "reports.*"],
	"delegation": {"max_depth": 2}
}]`

// InitDev makes dir a development directory on first use: keys, local principals and their private keys. What is there
// stays as it is. ceiling is the JSON array of entries that the local agents may not exceed.
func InitDev(dir, issuer, ceiling string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := keys.Generate(filepath.Join(dir, keysDir), nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, principalsFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	principals, credentials, err := devPrincipals(issuer, ceiling)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, clientsFile), credentials); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, principalsFile), principals)
}

// devPrincipals makes one principal for each local role, with a fresh key.
func devPrincipals(issuer, ceiling string) ([]authority.Registration, map[string]Credential, error) {
	person := &mission.Principal{Iss: issuer, Sub: "owner"}
	source := &authority.AuthoritySource{Type: "user_delegated", ID: "owner"}
	entries, err := mission.ParseRaw([]byte(ceiling))
	if err != nil {
		return nil, nil, fmt.Errorf("ceiling: %w", err)
	}
	agent := func(id string) authority.Registration {
		return authority.Registration{ID: id, Kind: authority.KindService, Roles: []authority.Role{authority.RoleClient},
			Subject: person, AuthoritySource: source, Ceiling: entries}
	}
	service := func(id string, roles ...authority.Role) authority.Registration {
		return authority.Registration{ID: id, Kind: authority.KindService, Roles: roles}
	}
	relying := func(id string, role authority.Role) authority.Registration {
		p := service(id, role)
		p.Audiences = []string{"https://api.example.com"}
		return p
	}
	all := []authority.Registration{
		agent("agent"), agent("child"),
		{ID: "approver", Kind: authority.KindHuman, Roles: []authority.Role{authority.RoleApprover}, Subject: person},
		service("operator", authority.RoleOperator, authority.RoleResume),
		service("producer", authority.RoleProducer),
		relying("pdp", authority.RolePDP), relying("pep", authority.RolePEP),
		relying("resource_as", authority.RoleResourceAS),
		service("auditor", authority.RoleAuditor),
		service("iga", authority.RoleIGA),
		service("admin", authority.RoleAdmin), service("admin-2", authority.RoleAdmin),
		service("peer", authority.RolePeer),
	}
	credentials := make(map[string]Credential, len(all))
	for i := range all {
		key, err := client.GenerateKey()
		if err != nil {
			return nil, nil, err
		}
		p := &all[i]
		p.ClientID = p.ID
		if p.JWKS, err = keySet(key.Public()); err != nil {
			return nil, nil, err
		}
		c := Credential{ClientID: p.ClientID, JWK: key}
		if p.Has(authority.RoleProducer) {
			if key, err = client.GenerateKey(); err != nil {
				return nil, nil, err
			}
			c.Statement = &StatementKey{Issuer: p.StatementIssuer(issuer), JWK: key}
		}
		credentials[p.ID] = c
	}
	return all, credentials, nil
}

func keySet(k client.JWK) (mission.Raw, error) {
	text, err := mission.Marshal(struct {
		Keys []client.JWK `json:"keys"`
	}{[]client.JWK{k}})
	if err != nil {
		return mission.Raw{}, err
	}
	return mission.ParseRaw(text)
}

// announce writes dev.json.
func announce(dir string, d *Dev) (err error) {
	if d.Clients, err = readCredentials(dir); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, devFile), d)
}

func readCredentials(dir string) (all map[string]Credential, err error) {
	text, err := os.ReadFile(filepath.Join(dir, clientsFile))
	if err != nil {
		return nil, err
	}
	if err := mission.Decode(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", clientsFile, err)
	}
	return all, nil
}

// devProducers are the rules of the genesis document for the local producers of a development directory: the types of
// evidence that somebody else than the issuer makes. A directory from before there were statement keys has none.
func devProducers(dir string) ([]ledger.Producer, error) {
	all, err := readCredentials(dir)
	if err != nil {
		return nil, err
	}
	var types []string
	for _, t := range evidence.Types() {
		if !slices.Contains(t.Producers, evidence.Issuer) {
			types = append(types, t.ContentType)
		}
	}
	var producers []ledger.Producer
	for _, c := range all {
		if c.Statement == nil {
			continue
		}
		private, err := c.Statement.JWK.Private()
		if err != nil {
			return nil, err
		}
		key, err := ledger.NewKey(private.Public())
		if err != nil {
			return nil, err
		}
		producers = append(producers, ledger.Producer{Issuer: c.Statement.Issuer, Key: key, Types: types})
	}
	return producers, nil
}

// writeJSON replaces a file of mode 0600 by canonical JSON.
func writeJSON(path string, value any) error {
	text, err := mission.Marshal(value)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
