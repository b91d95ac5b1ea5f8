package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strconv"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

func init() {
	subjects["change"] = changeMission
	subjects["change-bare"] = signTwice
}

// changeMission suspends and resumes missions, one for each writer, through the state owner: decide, sign the evidence
// and the answer (two ES256 signatures), commit, publish.
func changeMission(ctx context.Context, s setup) (measured, error) {
	d, _, stop, err := startDomain(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	ids, err := newMissions(ctx, d, s.Writers)
	if err != nil {
		return measured{}, errors.Join(err, stop())
	}
	operator := caller(d, "operator")
	suspended := make([]bool, s.Writers)
	m, err := load(ctx, s, func(ctx context.Context, writer, n int) error {
		op := mission.OpSuspend
		if suspended[writer] {
			op = mission.OpResume
		}
		suspended[writer] = !suspended[writer]
		_, err := d.Authority.Lifecycle(ctx, operator, authority.LifecycleRequest{
			MissionID: ids[writer], Operation: op, Nonce: strconv.Itoa(n)})
		return err
	})
	return m, errors.Join(err, stop())
}

// signTwice makes the two signatures of a change and nothing else.
func signTwice(ctx context.Context, s setup) (measured, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return measured{}, err
	}
	return load(ctx, s, func(_ context.Context, _, n int) error {
		for i := range 2 {
			digest := sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(i)})
			if _, _, err := ecdsa.Sign(rand.Reader, key, digest[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
