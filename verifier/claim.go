package verifier

// A Claim is something that a verdict does not say although a reader might think so.
type Claim struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// What is not claimed. Codes are stable.
var (
	notWitnessed = Claim{"unwitnessed", "no independent witness signed the checkpoint, so non-equivocation is not " +
		"claimed: the log may have shown others another tree"}
	notRestored = Claim{"whole_restore", "a log whose whole directory was set back to an earlier state shows it only " +
		"against a head that a peer or a witness kept"}
	notSeparate = Claim{"embedded_log", "issuer and log are one operator: registration times, feed numbers and silence " +
		"are that one party's word"}
	notAttended = Claim{"dev-unattended", "an approval was authenticated with a key file: that a person was present is " +
		"not claimed"}
	notEntitled = Claim{"approver_entitlement", "the bundle does not have the principals that an approval cites: that " +
		"its approver was entitled to it is not claimed"}
	notSigned = Claim{"manifest_unsigned", "the manifest is the exporter's unsigned word: its time, its query and the " +
		"reasons it gives for gaps"}
)

// LogClaims is what the verdict on a log alone does not say.
func LogClaims() []Claim { return []Claim{notWitnessed, notRestored, notSeparate} }
