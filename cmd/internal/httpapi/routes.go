package httpapi

import (
	"net/http"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// The grants of routes. What a caller may do with one mission or submission is decided by package authority; these say
// who may ask at all. A caller without the grant gets the 404 of something that does not exist.
var (
	everyone = []authority.Role{authority.RoleClient, authority.RoleApprover, authority.RoleOperator,
		authority.RoleProducer, authority.RolePDP, authority.RolePEP, authority.RoleResourceAS, authority.RolePeer,
		authority.RoleAuditor, authority.RoleIGA, authority.RoleAdmin}
	clients   = []authority.Role{authority.RoleClient}
	approvers = []authority.Role{authority.RoleApprover}
	peers     = []authority.Role{authority.RolePeer}
	auditors  = []authority.Role{authority.RoleAuditor}
	producers = []authority.Role{authority.RoleProducer}
	readers   = []authority.Role{authority.RoleAuditor, authority.RoleProducer} // producers: of their own entries
	admins    = []authority.Role{authority.RoleAdmin}
)

// derivationReceipt is the media type of POST /federation/v1/receipts.
var derivationReceipt = jws.TypDerivationReceipt.ContentType()

// table lists everything a caller can reach. docs/architecture.md explains the surfaces.
func (a *API) table() []route {
	const get, post = http.MethodGet, http.MethodPost
	body, large := a.config.Body, 4*a.config.Body
	base, log := a.base(), a.base()+"/log/"+a.config.Shard

	routes := []route{
		// Metadata and keys, for anybody.
		{method: get, path: "/.well-known/mission-authority-server" + base, public: true, run: a.getMetadata},
		{method: get, path: "/.well-known/jwks.json" + base, public: true, run: a.getIssuerKeys},
		{method: get, path: "/.well-known/oauth-protected-resource" + base + "/mas/missions/status", public: true,
			run: a.getProtectedResource("/mas/missions/status")},
		{method: get, path: "/.well-known/oauth-protected-resource" + base + "/mas/missions/lifecycle", public: true,
			run: a.getProtectedResource("/mas/missions/lifecycle")},
		{method: get, path: "/.well-known/scitt-keys" + base, public: true, run: a.getReceiptKeys, surface: surfaceCOSE},
		{method: get, path: "/.well-known/scitt-keys" + base + "/:kid", public: true, run: a.getReceiptKey,
			surface: surfaceCOSE},

		// Submission and review.
		{method: post, path: base + "/mas/submissions", roles: clients, surface: surfaceMission,
			media: mediaJSON, limit: large, bad: mission.InvalidIntent, run: a.submit},
		{method: post, path: base + "/mas/submissions/status", roles: clients, surface: surfaceMission,
			media: mediaForm, limit: body, run: a.poll},
		{method: get, path: base + "/mas/review", roles: approvers, run: a.queue},
		{method: get, path: base + "/mas/review/:id", roles: approvers, run: a.review},
		{method: post, path: base + "/mas/review/:id/decision", roles: approvers, media: mediaJSON, limit: body,
			run: a.decide},

		// Status and lifecycle. Subject and approver may always revoke, whatever else they are.
		{method: post, path: base + "/mas/missions/status", roles: everyone, surface: surfaceMission,
			media: mediaForm, limit: body, run: a.status},
		{method: post, path: base + "/mas/missions/lifecycle", roles: everyone, surface: surfaceMission,
			media: mediaForm, limit: body, run: a.lifecycle},

		// The log as tiles.
		{method: get, path: log + "/checkpoint", public: true, run: a.getCheckpoint},
		{method: get, path: log + "/tile/:level/*index", public: true, run: a.getTile},
		{method: get, path: log + "/tile/entries/*index", roles: auditors, run: a.getEntryTile},

		// The log as a transparency service.
		{method: get, path: base + "/entries/:id", roles: readers, surface: surfaceCOSE, run: a.getEntry},
		{method: get, path: base + "/entries/:id/statement", roles: readers, surface: surfaceCOSE, run: a.getStatement},
		{method: get, path: base + "/entries/:id/transparent", roles: readers, surface: surfaceCOSE,
			run: a.getTransparent},

		// Proofs for anybody; feeds, evidence and bundles for auditors.
		{method: get, path: base + "/v1/proofs/inclusion", public: true, run: a.getInclusion},
		{method: get, path: base + "/v1/proofs/consistency", public: true, run: a.getConsistency},
		{method: get, path: base + "/v1/evidence/:digest", roles: auditors, run: a.getEvidence},
		{method: post, path: base + "/v1/bundles", roles: auditors, media: mediaJSON, limit: body, run: a.postBundle},

		// Operations.
		{method: get, path: "/healthz", public: true, run: a.getHealth},
		{method: get, path: "/readyz", public: true, run: a.getReady},
	}
	routes = append(routes, a.custodyRoutes(base, body)...)
	routes = append(routes, a.shardRoutes()...)
	routes = append(routes, a.registrationRoutes()...)
	routes = append(routes, a.feedRoutes()...)
	routes = append(routes, a.keyStatusRoutes()...)
	routes = append(routes, a.witnessRoutes(base)...)
	if a.config.ServeMetrics {
		routes = append(routes, route{method: get, path: "/metrics", public: true, run: a.getMetrics})
	}
	if a.config.Peers == nil {
		return routes
	}
	federation := base + "/federation/v1"
	return append(routes,
		route{method: post, path: federation + "/agreements", roles: peers, surface: surfaceFederation,
			media: mediaJSON, limit: large, run: a.agree},
		route{method: post, path: federation + "/introductions", roles: clients, surface: surfaceFederation,
			media: mediaJSON, limit: body, run: a.introduce},
		route{method: post, path: federation + "/projections", roles: peers, surface: surfaceFederation,
			media: mediaJSON, limit: body, run: a.project},
		route{method: post, path: federation + "/local-missions", roles: clients, surface: surfaceFederation,
			media: mediaJSON, limit: large, run: a.mint},
		route{method: post, path: federation + "/local-missions/status", roles: clients, surface: surfaceFederation,
			media: mediaForm, limit: body, run: a.poll},
		route{method: post, path: federation + "/receipts", roles: peers, surface: surfaceFederation,
			media: derivationReceipt, limit: body, run: a.receive},
	)
}
