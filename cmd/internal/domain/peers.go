package domain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission/authority"
)

// readPeers reads the peer registry: one directory for each peer with its record, the agreement that both governance
// keys signed, and the local annex. No directory means no peers; an incomplete one is an error.
func readPeers(dir string) ([]authority.PeerConfig, error) {
	entries, err := os.ReadDir(dir)
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []authority.PeerConfig
	for _, e := range entries {
		p, err := readPeer(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", e.Name(), err)
		}
		all = append(all, p)
	}
	return all, nil
}

func readPeer(dir string) (p authority.PeerConfig, err error) {
	record, err := os.ReadFile(filepath.Join(dir, peerFile))
	if err != nil {
		return p, err
	}
	agreement, err := os.ReadFile(filepath.Join(dir, agreementFile))
	if err != nil {
		return p, err
	}
	annex, err := os.ReadFile(filepath.Join(dir, annexFile))
	if err != nil {
		return p, err
	}
	if p.Record, err = federation.ParsePeer(record); err != nil {
		return p, err
	}
	if p.Signed, err = federation.ParseSigned(agreement); err != nil {
		return p, err
	}
	p.Annex, err = federation.ParseAnnex(annex)
	return p, err
}
