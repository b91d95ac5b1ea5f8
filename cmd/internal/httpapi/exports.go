package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/verifier"
)

// maxLoggedManifest is the largest manifest that the vault keeps; of a larger one only the digest is logged.
const maxLoggedManifest = 1 << 20

// logExport registers the manifest of a bundle as an export and returns its transparent statement. A log that takes no
// writes does not keep evidence from an auditor: then the bundle goes out with an unsigned manifest, which says so.
func (a *API) logExport(ctx context.Context, manifest []byte) ([]byte, error) {
	if a.config.Evidence == nil {
		return nil, nil
	}
	digest := sha256.Sum256(manifest)
	subject, err := ledger.Subject(a.config.Issuer, ledger.SubjectExports, hex.EncodeToString(digest[:16]))
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	raw, err := ledger.SignStatement(ctx, ledger.Claims{Issuer: a.config.Issuer, Subject: subject,
		IssuedAt: a.config.Now().Unix(), ContentType: verifier.ContentTypeManifest, Digest: digest}, a.config.Evidence)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	entry := ledger.Entry{Statement: raw}
	if len(manifest) <= maxLoggedManifest {
		entry.Body = manifest
	}
	done, err := a.config.Log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{entry}})
	if errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrIntegrity) {
		a.log.Warn("export with an unsigned manifest", slog.Any("error", err))
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if done.Results[0].Index >= v.Head().Size { // durable, and not published under the policy of witnesses yet
		a.log.Warn("export with an unsigned manifest: its record is not published yet")
		return nil, nil
	}
	receipt, statement, err := a.receipt(ctx, v, done.Results[0].Index)
	if err != nil {
		return nil, err
	}
	return ledger.AttachReceipts(statement, receipt)
}
