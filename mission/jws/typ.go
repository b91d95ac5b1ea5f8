package jws

import "strings"

// Typ is the `typ` header of an artifact; each endpoint accepts exactly one (RFC 8725 3.11).
type Typ string

// The typ table. Values are pairwise distinct; every one has its own endpoint or place.
const (
	TypStatus               Typ = "mission-status-response+jwt"
	TypProjection           Typ = "mission-projection+jwt"
	TypDerivationReceipt    Typ = "mission-derivation-receipt+jwt"
	TypAgreement            Typ = "mission-federation-agreement+jwt"
	TypClientAuthentication Typ = "client-authentication+jwt"
	TypMandate              Typ = "mission-mandate+jwt"
	TypGrant                Typ = "oauth-id-jag+jwt"
	TypIssuanceGrant        Typ = "mission-issuance-grant+jwt"
	TypJoin                 Typ = "mission-join+jwt"
	TypSecurityEvent        Typ = "secevent+jwt"
	TypStatusList           Typ = "statuslist+jwt"
	TypConsentEvidence      Typ = "mission-consent-evidence+jws"
	TypWorkProduct          Typ = "mission-work-product-binding+jwt"
	TypDPoP                 Typ = "dpop+jwt"
	TypMandateSD            Typ = "mission-mandate+sd-jwt"
	TypDiscovery            Typ = "mission-discovery-evidence+json"
	TypRuntimeEvidence      Typ = "application/mission-runtime-evidence+jws"    // the record's media type is the cty
	TypApprovalGovernance   Typ = "application/mission-approval-governance+jws" // likewise
)

// Types is the whole table.
var Types = []Typ{
	TypStatus, TypProjection, TypDerivationReceipt, TypAgreement, TypClientAuthentication, TypMandate, TypGrant,
	TypIssuanceGrant, TypJoin, TypSecurityEvent, TypStatusList, TypConsentEvidence, TypWorkProduct, TypDPoP,
	TypMandateSD, TypDiscovery, TypRuntimeEvidence, TypApprovalGovernance,
}

// ContentType is the media type under which the artifact travels alone.
func (t Typ) ContentType() string {
	if strings.HasPrefix(string(t), "application/") {
		return string(t)
	}
	return "application/" + string(t)
}
