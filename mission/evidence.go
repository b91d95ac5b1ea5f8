package mission

// Content types of evidence bodies (claim 259 of a Signed Statement). The names of the drafts are theirs; mas- names
// are ours (audit 3.1).
const (
	ContentApprovalRecord      = "application/mission-approval-record+json"
	ContentTransition          = "application/mission-lifecycle-transition+json"
	ContentConsentEvidence     = "application/mission-consent-evidence+json"
	ContentPrincipals          = "application/mas-principals+json"
	ContentRefusal             = "application/mas-refusal+json"
	ContentRefusalDigest       = "application/mas-refusal-digest+json"
	ContentEmergencyStop       = "application/mas-emergency-stop+json"
	ContentSubmission          = "application/mas-submission+json"
	ContentAgreementEvent      = "application/mas-agreement-event+json"
	ContentPeerCeiling         = "application/mas-peer-ceiling+json"
	ContentPeerCheckpoint      = "application/mas-peer-checkpoint+json"
	ContentIntroduction        = "application/mas-introduction+json"
	ContentProjectionIssued    = "application/mas-projection-issued+json"
	ContentProjectionReceived  = "application/mas-projection-received+json"
	ContentStatusServed        = "application/mas-status-served+json"
	ContentStatusObserved      = "application/mas-status-observed+json"
	ContentLocalMissionRefused = "application/mas-local-mission-refused+json"
	ContentDerivationReceipt   = "application/mission-derivation-receipt+jwt"
)
