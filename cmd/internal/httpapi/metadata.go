package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/verifier"
)

// Published is what the service tells the world about its keys and bounds.
type Published struct {
	Issuer     *jws.KeySet   // keys of status and every other JWS of the issuer
	Governance *jws.KeySet   // keys of agreements
	Evidence   *jws.KeySet   // keys of statements; kids are COSE thumbprints in base64url
	Receipts   ledger.KeySet // keys of COSE receipts
	VKey       string        // signed-note verifier key of checkpoints
	MaxStale   time.Duration
	// KeyStatus returns the signed status of all keys as of now; nil: it is not served.
	KeyStatus func(ctx context.Context) ([]byte, error)
}

// publishedKeys are the key documents, made once.
type publishedKeys struct {
	issuerSet   []byte // JWK Set
	receiptSet  []byte // COSE Key Set
	receipts    ledger.KeySet
	receiptKeys []receiptKey
	hint        []byte // trust document of this issuer, for bundles
}

// A receiptKey is one COSE_Key.
type receiptKey struct{ kid, encoded []byte }

// metadata is /.well-known/mission-authority-server (core 4.1), extended by members of this service:
// mission_federation_* and mission_log_* (fed 1.0).
type metadata struct {
	Issuer               string   `json:"issuer"`
	SubmissionEndpoint   string   `json:"mission_submission_endpoint"`
	StatusEndpoint       string   `json:"mission_status_endpoint"`
	LifecycleEndpoint    string   `json:"mission_lifecycle_endpoint"`
	StatusAlgs           []string `json:"mission_status_signing_alg_values_supported"`
	AuthMethods          []string `json:"mission_auth_methods_supported"`
	JWKSURI              string   `json:"jwks_uri"`
	MaxStale             int64    `json:"mission_max_stale_seconds"`
	StatusAuthMethods    []string `json:"mission_status_endpoint_auth_methods_supported"`
	StatusAuthAlgs       []string `json:"mission_status_endpoint_auth_signing_alg_values_supported"`
	LifecycleAuthMethods []string `json:"mission_lifecycle_endpoint_auth_methods_supported"`
	LifecycleAuthAlgs    []string `json:"mission_lifecycle_endpoint_auth_signing_alg_values_supported"`

	FederationVersions []string    `json:"mission_federation_versions,omitempty"`
	FederationShapes   []string    `json:"mission_federation_shapes,omitempty"`
	FederationModes    []string    `json:"mission_federation_modes,omitempty"`
	AgreementEndpoint  string      `json:"mission_federation_agreement_endpoint,omitempty"`
	ProjectionEndpoint string      `json:"mission_federation_projection_endpoint,omitempty"`
	ProjectionMax      int64       `json:"mission_federation_projection_max_seconds,omitempty"`
	ProjectionAlgs     []string    `json:"mission_federation_projection_signing_alg_values_supported,omitempty"`
	LocalEndpoint      string      `json:"mission_federation_local_mission_endpoint,omitempty"`
	ReceiptEndpoint    string      `json:"mission_federation_receipt_endpoint,omitempty"`
	GovernanceKeys     mission.Raw `json:"mission_federation_governance_keys,omitempty"` // JWK Set

	LogOrigin         string      `json:"mission_log_origin"`
	LogVKey           string      `json:"mission_log_vkey"`
	LogCheckpoint     string      `json:"mission_log_checkpoint_endpoint"`
	LogReceiptKeysURI string      `json:"mission_log_receipt_keys_uri"`
	LogRegistration   string      `json:"mission_log_registration_endpoint,omitempty"`
	LogEvidence       string      `json:"mission_log_evidence_endpoint,omitempty"`
	LogPolicy         string      `json:"mission_log_registration_policy_endpoint,omitempty"`
	LogEvidenceKeys   mission.Raw `json:"mission_log_evidence_keys"`   // JWK Set
	LogClaimsNotMade  []string    `json:"mission_log_claims_not_made"` // see docs/threat-model.md
	// Of a log with witnesses: what it claims for the heads that a quorum of them has cosigned, who they are, and what
	// is published without them.
	LogClaims      []string       `json:"mission_log_claims,omitempty"`
	LogWitnesses   []namedWitness `json:"mission_log_witnesses,omitempty"`
	LogPublish     string         `json:"mission_log_publish,omitempty"`
	LogEnumeration enumeration    `json:"mission_log_enumeration"`
	// Where the status of all keys is, and the keys that sign it.
	LogKeyStatus     string      `json:"mission_log_key_status_endpoint,omitempty"`
	LogKeyStatusKeys mission.Raw `json:"mission_log_key_status_keys,omitempty"` // JWK Set
}

// An enumeration says how everything that the log holds about a subject is found, in which order it is listed, and what
// shows that the list is whole.
type enumeration struct {
	Subject      string   `json:"subject"`      // form of the subject of a mission's statements
	Order        string   `json:"order"`        // of a feed
	Completeness []string `json:"completeness"` // what shows it, the strongest first
	Map          string   `json:"map"`
	EpochSeconds int64    `json:"epoch_seconds"` // the newest epoch covers what is older than this
	Access       string   `json:"access"`
	Feed         string   `json:"feed_endpoint"`
	Proof        string   `json:"feed_proof_endpoint"`
	Epoch        string   `json:"feed_epoch_endpoint"`
	Population   string   `json:"population_endpoint"`
	Entries      string   `json:"entries_endpoint"`
}

// enumerate describes the feeds.
func (a *API) enumerate() enumeration {
	return enumeration{
		Subject: strings.TrimSuffix(a.config.Issuer, "/") + "/missions/{mission_id}", Order: "leaf_index",
		Completeness: []string{"scan", "feed_epoch", "receipt_feed_claims"}, Map: ledger.FeedMapV1,
		EpochSeconds: int64(epoch.Interval.Seconds()), Access: string(authority.RoleAuditor),
		Feed: a.url("/v1/feeds/{base64url_subject}"), Proof: a.url("/v1/feeds/{base64url_subject}/proof"),
		Epoch: a.url("/v1/feed-epochs/{epoch}"), Population: a.url("/v1/feed-epochs/{epoch}/population"),
		Entries: a.url("/log/" + a.config.Shard + "/tile/entries/{tile}"),
	}
}

// publish prepares every document that does not change while the process lives.
func (a *API) publish() error {
	p := a.config.Published
	if p.Issuer == nil || p.Governance == nil || p.Evidence == nil || len(p.Receipts) == 0 || p.VKey == "" ||
		p.MaxStale < time.Second {
		return errors.New("httpapi: incomplete keys or bounds to publish")
	}
	var err error
	if a.keys.issuerSet, err = p.Issuer.Marshal(); err != nil {
		return fmt.Errorf("httpapi: issuer keys: %w", err)
	}
	if a.keys.receiptSet, err = ledger.MarshalKeySet(p.Receipts); err != nil {
		return fmt.Errorf("httpapi: receipt keys: %w", err)
	}
	a.keys.receipts = p.Receipts
	if _, ok := p.Receipts.Find(a.config.Receipts.KeyID()); !ok {
		return errors.New("httpapi: the receipt signer's key is not published")
	}
	for _, k := range p.Receipts {
		one, err := ledger.MarshalKeySet(ledger.KeySet{k})
		if err != nil {
			return fmt.Errorf("httpapi: receipt key: %w", err)
		}
		// A set of one key is the array head 0x81 and the key.
		a.keys.receiptKeys = append(a.keys.receiptKeys, receiptKey{kid: k.ID, encoded: bytes.TrimPrefix(one, []byte{0x81})})
	}
	if err := a.hint(); err != nil {
		return err
	}
	return a.describe()
}

// hint writes what this issuer calls its keys in the form that auditors use. It proves nothing.
func (a *API) hint() error {
	p := a.config.Published
	t := verifier.Trust{Anchor: verifier.Anchor{Issuer: a.config.Issuer, Origin: a.config.LogOrigin, VKey: p.VKey,
		Keys: p.Issuer, Governance: p.Governance}}
	for _, k := range p.Receipts {
		t.Receipts = append(t.Receipts, verifier.TrustedKey{Public: k.Public, Status: verifier.KeyActive})
	}
	for _, kid := range p.Evidence.KeyIDs() {
		public, _, _ := p.Evidence.Key(kid)
		t.Evidence = append(t.Evidence, verifier.TrustedKey{Public: public, Status: verifier.KeyActive})
	}
	var err error
	if a.keys.hint, err = t.Marshal(); err != nil {
		return fmt.Errorf("httpapi: trust document: %w", err)
	}
	return nil
}

// describe writes the metadata.
func (a *API) describe() error {
	p := a.config.Published
	evidence, err := rawKeys(p.Evidence)
	if err != nil {
		return err
	}
	governance, err := rawKeys(p.Governance)
	if err != nil {
		return err
	}
	algs := []string{jws.ES256}
	clientAlgs := []string{jws.ES256, jws.EdDSA}
	methods := []string{methodPrivateKeyJWT}
	m := metadata{
		Issuer:               a.config.Issuer,
		SubmissionEndpoint:   a.url("/mas/submissions"),
		StatusEndpoint:       a.url("/mas/missions/status"),
		LifecycleEndpoint:    a.url("/mas/missions/lifecycle"),
		StatusAlgs:           algs,
		AuthMethods:          methods,
		JWKSURI:              origin(a.config.Issuer) + "/.well-known/jwks.json" + a.base(),
		MaxStale:             int64(p.MaxStale.Seconds()),
		StatusAuthMethods:    methods,
		StatusAuthAlgs:       clientAlgs,
		LifecycleAuthMethods: methods,
		LifecycleAuthAlgs:    clientAlgs,
		LogOrigin:            a.config.LogOrigin,
		LogVKey:              p.VKey,
		LogCheckpoint:        a.url("/log/" + a.config.Shard + "/checkpoint"),
		LogReceiptKeysURI:    origin(a.config.Issuer) + "/.well-known/scitt-keys" + a.base(),
		LogEvidenceKeys:      evidence,
		LogEnumeration:       a.enumerate(),
	}
	a.describeWitnesses(&m)
	if a.config.Registry != nil {
		m.LogRegistration, m.LogEvidence = a.url("/entries"), a.url("/v1/evidence")
		m.LogPolicy = a.url("/v1/registration-policy")
	}
	if p.KeyStatus != nil {
		m.LogKeyStatus, m.LogKeyStatusKeys = a.url("/v1/keys/status"), governance
	}
	if a.config.Peers != nil {
		m.FederationVersions = []string{"1"}
		m.FederationShapes = []string{"status", "projection", "local_mission"}
		m.FederationModes = []string{"linked"}
		m.AgreementEndpoint = a.url("/federation/v1/agreements")
		m.ProjectionEndpoint = a.url("/federation/v1/projections")
		m.ProjectionMax = federation.MaxProjectionSeconds
		m.ProjectionAlgs = algs
		m.LocalEndpoint = a.url("/federation/v1/local-missions")
		m.ReceiptEndpoint = a.url("/federation/v1/receipts")
		m.GovernanceKeys = governance
	}
	if a.metadata, err = mission.Marshal(m); err != nil {
		return fmt.Errorf("httpapi: metadata: %w", err)
	}
	return nil
}

func rawKeys(set *jws.KeySet) (mission.Raw, error) {
	text, err := set.Marshal()
	if err != nil {
		return mission.Raw{}, fmt.Errorf("httpapi: keys: %w", err)
	}
	return mission.ParseRaw(text)
}

// base is the path of the issuer identifier, "" in most deployments.
func (a *API) base() string {
	_, rest, _ := strings.Cut(a.config.Issuer, "://")
	_, path, found := strings.Cut(rest, "/")
	if !found {
		return ""
	}
	return "/" + strings.TrimSuffix(path, "/")
}

// url is the URL of an endpoint.
func (a *API) url(path string) string { return origin(a.config.Issuer) + a.base() + path }

const cacheHour = "public, max-age=3600"

func (a *API) getMetadata(*call) (reply, error) {
	return tagged(reply{contentType: mediaJSON, body: a.metadata, header: http.Header{"Cache-Control": {cacheHour}}}), nil
}

func (a *API) getIssuerKeys(*call) (reply, error) {
	return tagged(reply{contentType: "application/jwk-set+json", body: a.keys.issuerSet,
		header: http.Header{"Cache-Control": {"public, max-age=300"}}}), nil
}

// protectedResource is RFC 9728 metadata: no access tokens are accepted yet, so no bearer method is offered.
type protectedResource struct {
	Resource      string   `json:"resource"`
	BearerMethods []string `json:"bearer_methods_supported"`
	Documentation string   `json:"resource_documentation,omitempty"`
}

// getProtectedResource describes the endpoint at the path.
func (a *API) getProtectedResource(path string) func(*call) (reply, error) {
	return func(*call) (reply, error) {
		body := a.json(protectedResource{Resource: a.url(path), BearerMethods: []string{}})
		return tagged(reply{contentType: mediaJSON, body: body, header: http.Header{"Cache-Control": {cacheHour}}}), nil
	}
}
