package verifier

import (
	"strings"

	"github.com/mission-authority/mas/ledger"
)

// checkManifest checks the exporter's statement of the manifest: signed by the issuer of the bundle, registered as an
// export in the same log, no earlier than the head of the bundle, and about exactly this manifest. A bundle without one
// is not worse for it, but its manifest is nobody's signed word.
func (c *bundleCheck) checkManifest() {
	if c.contents.signed == nil {
		return
	}
	r := &RecordReport{Path: pathSigned}
	defer func() { c.Findings = append(c.Findings, r.Findings...) }()
	raw, receipts, err := ledger.DetachReceipts(c.contents.signed)
	if err != nil || len(receipts) != 1 || !r.parse(raw) {
		r.Findings.add(Integrity, "manifest_signature", pathSigned, "not a transparent statement with one receipt")
		return
	}
	r.checkReceipt(receipts[0], c.trust)
	r.checkSignature(c.trust)
	if r.Findings.Outcome() != OK || !r.proven || !r.authentic {
		return
	}
	exports := strings.TrimSuffix(c.trust.Issuer, "/") + "/" + string(ledger.SubjectExports) + "/"
	switch {
	case r.statement.Digest != c.contents.digest:
		r.Findings.add(Integrity, "manifest_signature", pathSigned, "the exporter signed another manifest")
	case r.Issuer != c.trust.Issuer || r.receipt.Issuer != c.trust.Issuer || r.ContentType != ContentTypeManifest ||
		!strings.HasPrefix(r.Subject, exports):
		r.Findings.add(Integrity, "manifest_signature", pathSigned, "the statement is not that of an export of this log")
	case r.receipt.Index < c.head.Size:
		r.Findings.add(Integrity, "manifest_signature", pathSigned,
			"the export, entry %d, was registered before the head of size %d that it is about", r.receipt.Index, c.head.Size)
	default:
		r.conclude()
		c.Export = r
	}
}
