package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

func init() { subjects["postgres"] = appendPostgres }

// chain is an audit table as it is usually built: each row carries the hash of the one before it, under a lock on the
// head.
const chain = `
CREATE TABLE head (one int PRIMARY KEY, hash bytea NOT NULL);
INSERT INTO head VALUES (1, '');
CREATE TABLE entry (id bigserial PRIMARY KEY, body bytea NOT NULL, hash bytea NOT NULL);
CREATE FUNCTION link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE previous bytea;
BEGIN
	SELECT hash INTO previous FROM head WHERE one = 1 FOR UPDATE;
	NEW.hash := sha256(previous || NEW.body);
	UPDATE head SET hash = NEW.hash WHERE one = 1;
	RETURN NEW;
END $$;
CREATE TRIGGER link BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION link();`

// appendPostgres inserts into a hash-chain table of a fresh cluster with fsync and synchronous_commit on.
func appendPostgres(ctx context.Context, s setup) (measured, error) {
	dsn, stop, err := startPostgres(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	defer stop()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return measured{}, err
	}
	config.MaxConns = int32(s.Writers)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return measured{}, err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, chain); err != nil {
		return measured{}, err
	}
	return load(ctx, s, func(ctx context.Context, _, _ int) error {
		body := make([]byte, entrySize)
		rand.Read(body)
		_, err := pool.Exec(ctx, "INSERT INTO entry (body, hash) VALUES ($1, '')", body)
		return err
	})
}

// errNoPostgres: the comparison is left out.
var errNoPostgres = errors.New("no PostgreSQL server on this machine (Debian: postgresql, postgresql-contrib)")

// postgresBin finds the server programs where Debian keeps them.
func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errNoPostgres
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// startPostgres runs a cluster below dir on a Unix socket. initdb refuses root, so it runs as the postgres user then.
func startPostgres(ctx context.Context, dir string) (dsn string, stop func(), err error) {
	bin, err := postgresBin()
	if err != nil {
		return "", nil, err
	}
	var cred *syscall.Credential
	name := "postgres"
	if os.Geteuid() == 0 {
		u, err := user.Lookup(name)
		if err != nil {
			return "", nil, errNoPostgres
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		for p := dir; strings.HasPrefix(p, os.TempDir()) && p != os.TempDir(); p = filepath.Dir(p) {
			if err := os.Chmod(p, 0o711); err != nil {
				return "", nil, err
			}
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return "", nil, err
		}
	}
	as := func(program string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, program), args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := as("initdb", "-D", data, "-U", name, "-A", "trust", "--no-sync").CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	server := as("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=1100",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=256MB")
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGINT) }
	if err := server.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		server.Process.Signal(syscall.SIGINT)
		server.Wait()
	}
	for range 100 {
		if as("pg_isready", "-h", dir).Run() == nil {
			return fmt.Sprintf("host=%s user=%s dbname=postgres", dir, name), stop, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("the PostgreSQL server did not come up")
}
