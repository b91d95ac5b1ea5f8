package vault

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

const token = "transit-test-token"

// An engine is a real Transit engine behind the part of Vault's HTTP interface that its clients use for it.
type engine struct {
	backend logical.Backend
	storage logical.Storage
	down    atomic.Bool // answers 503, as a sealed Vault does
	signed  atomic.Int64
}

// startEngine starts an engine and points the environment at it.
func startEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{storage: &logical.InmemStorage{}}
	var err error
	e.backend, err = transit.Factory(t.Context(), &logical.BackendConfig{
		StorageView: e.storage, System: logical.TestSystemView(), Logger: hclog.NewNullLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", token)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	return e
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/transit/")
	switch {
	case e.down.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Header.Get("X-Vault-Token") != token:
		w.WriteHeader(http.StatusForbidden)
		return
	}
	request := &logical.Request{Path: path, Storage: e.storage, Operation: logical.ReadOperation}
	if r.Method != http.MethodGet {
		request.Operation = logical.UpdateOperation
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil && len(body) > 0 {
			err = json.Unmarshal(body, &request.Data)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	if strings.HasPrefix(path, "sign/") {
		e.signed.Add(1)
	}
	response, err := e.backend.HandleRequest(r.Context(), request)
	switch {
	case err != nil || response.IsError():
		text := "refused"
		if response != nil && response.IsError() {
			text = response.Error().Error()
		}
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
	case response == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"data": response.Data})
	}
}

// do makes a request as an operator of Vault would.
func (e *engine) do(t *testing.T, path string, data map[string]any) {
	t.Helper()
	response, err := e.backend.HandleRequest(t.Context(), &logical.Request{
		Path: path, Operation: logical.UpdateOperation, Storage: e.storage, Data: data,
	})
	if err != nil || response != nil && response.IsError() {
		t.Fatalf("%s: %v, %v", path, err, response)
	}
}
