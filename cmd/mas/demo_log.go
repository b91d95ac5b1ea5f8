package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/mission-authority/mas/mission"
)

// mission is the statement subject of a mission of the domain.
func (a *actor) mission(id mission.ID) string { return a.issuer + "/missions/" + string(id) }

// A logged entry, as the feed of its subject lists it.
type logged struct {
	LeafIndex   uint64 `json:"leaf_index"`
	EntryID     string `json:"entry_id"`
	ContentType string `json:"content_type"`
}

// feed lists the entries about a subject as the domain's auditor sees them.
func (s *story) feed(ctx context.Context, a *actor, subject string) ([]logged, error) {
	auditor, err := a.dev.Client("auditor")
	if err != nil {
		return nil, err
	}
	resp, err := auditor.Get(ctx, "/v1/feeds/"+base64.RawURLEncoding.EncodeToString([]byte(subject)))
	if err != nil {
		return nil, fmt.Errorf("reading the feed: %w", err)
	}
	var page struct {
		Items []logged `json:"items"`
	}
	err = resp.Decode(&page)
	return page.Items, err
}

func (s *story) count(ctx context.Context, a *actor, subject string) (int, error) {
	items, err := s.feed(ctx, a, subject)
	return len(items), err
}

// tell prints the entries about a subject that were not told yet.
func (s *story) tell(ctx context.Context, a *actor, subject string) error {
	items, err := s.feed(ctx, a, subject)
	if err != nil {
		return err
	}
	for _, e := range items[min(a.seen[subject], len(items)):] {
		kind := strings.TrimPrefix(e.ContentType, "application/")
		s.say("  "+a.name+" log", "leaf %-3d %s", e.LeafIndex, kind)
	}
	a.seen[subject] = len(items)
	return nil
}
