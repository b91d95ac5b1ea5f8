package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// startDomain runs a whole domain below dir with the store options of a server. The returned function stops it.
func startDomain(ctx context.Context, dir string) (*domain.Domain, *domain.Dev, func() error, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	address := l.Addr().String()
	c, err := config.LoadDev(dir, config.Sources{Flags: map[string]string{
		"listen": address, "issuer": "http://" + address, "limits.rate": "100000", "limits.statements": "1000000",
		"telemetry.level": "error"}})
	if err != nil {
		return nil, nil, nil, err
	}
	if err := domain.InitDev(dir, c.Issuer, domain.DevCeiling); err != nil {
		return nil, nil, nil, err
	}
	d, err := domain.Open(ctx, domain.Options{Config: c, DevDir: dir, Listener: l, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- d.Run(running) }()
	stop := func() error {
		cancel()
		return <-done
	}
	select {
	case <-d.Ready():
	case err := <-done:
		cancel()
		return nil, nil, nil, fmt.Errorf("the domain ended: %w", err)
	case <-time.After(20 * time.Second):
		return nil, nil, nil, errors.Join(errors.New("the domain is not ready"), stop())
	}
	dev, err := domain.ReadDev(dir)
	return d, dev, stop, err
}

// caller acts as one of the local principals without HTTP.
func caller(d *domain.Domain, name string) authority.Caller {
	p, _ := d.Authority.Principals().ByClient(name)
	return authority.Caller{Principal: p, Method: "private_key_jwt"}
}

// newMissions submits and approves n missions.
func newMissions(ctx context.Context, d *domain.Domain, n int) ([]string, error) {
	ids := make([]string, n)
	for i := range ids {
		answer, err := d.Authority.Submit(ctx, caller(d, "agent"), []byte(`{"intent":{"goal":"measure `+strconv.Itoa(i)+`",
			"resources":["https://api.example.com"],"expires_at":"`+mission.FormatTime(time.Now().Add(time.Hour))+`"},
			"authorization_details":[{"type":"mission_resource_access","resource":"https://api.example.com",
			"actions":["invoices.read"],"constraints":{"max_amount":{"amount":"1200.00","currency":"EUR"}}}]}`))
		if err != nil {
			return nil, err
		}
		var submitted struct {
			ID string `json:"submission_id"`
		}
		if err := mission.DecodeOpen(answer, &submitted); err != nil {
			return nil, err
		}
		if answer, err = d.Authority.Review(ctx, caller(d, "approver"), submitted.ID); err != nil {
			return nil, err
		}
		var shown struct {
			ContextID string         `json:"context_id"`
			Rendering mission.Digest `json:"consent_rendering_hash"`
		}
		if err := mission.DecodeOpen(answer, &shown); err != nil {
			return nil, err
		}
		body, err := mission.Marshal(map[string]string{"context_id": shown.ContextID,
			"consent_rendering_hash": string(shown.Rendering), "decision": "approve"})
		if err != nil {
			return nil, err
		}
		if answer, err = d.Authority.Decide(ctx, caller(d, "approver"), submitted.ID, body); err != nil {
			return nil, err
		}
		var decided struct {
			MissionID string `json:"mission_id"`
		}
		if err := mission.DecodeOpen(answer, &decided); err != nil {
			return nil, err
		}
		ids[i] = decided.MissionID
	}
	return ids, nil
}
