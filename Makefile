# Targets are listed by `make help`. Everything builds offline once the module cache is warm.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      ?= go
BINS    := mas masctl masverify

# REQUIRE_ALL=1 turns a missing optional component from one clear line into a failure.
REQUIRE_ALL ?=
export REQUIRE_ALL

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/mas, bin/masctl, bin/masverify: static, trimmed paths, version from git
	@mkdir -p bin
	@for b in $(BINS); do \
		CGO_ENABLED=0 $(GO) build -trimpath -tags nomsgpack -ldflags '$(LDFLAGS)' -o bin/$$b ./cmd/$$b; \
		printf '%-10s %5.1f MB, %s modules\n' $$b \
			"$$(stat -c %s bin/$$b | awk '{print $$1 / 1048576}')" \
			"$$($(GO) version -m bin/$$b | grep -c '^	dep	')"; \
	done

.PHONY: demo
demo: build ## run the main job end to end with two domains, then verify everything offline
	@bin/mas demo

.PHONY: run
run: build ## start one MAS on 127.0.0.1:8420 with its store under ./data
	@bin/mas dev --dir data --listen 127.0.0.1:8420

.PHONY: test
test: ## everything that tests the product, soaks in reduced counts, at most 10 minutes on 2 cores
	@bash .ci/test

.PHONY: idle
idle: ## two idle domains that witness each other, for ten minutes: their trees do not grow
	SOAK=1 go test -count=1 -timeout 20m -run TestIdlePeers -v ./cmd/internal/domaintest | grep -E '^(idle|---|ok|FAIL)'

.PHONY: soak
soak: ## the same tests at full counts, with an hour of mixed load: many hours (docs/testing.md)
	@SOAK=1 bash .ci/test

.PHONY: power
power: ## cut the power of a virtual machine 20 times (needs root, qemu-system-x86, linux-image-amd64)
	@POWER=1 $(GO) test -count=1 -v -timeout 3h -run 'TestPowerCut$$' ./cmd/mas

.PHONY: seeded
seeded: ## plant the known bugs of .ci/seeded/bugs.json one by one; the test named beside each must fail
	@$(GO) run ./.ci/seeded

.PHONY: race
race: ## the race detector over every package
	@$(GO) test -race ./...

.PHONY: lint
lint: ## go vet, gofmt, staticcheck (built from .ci/tools, apart from the product's go.mod)
	@bash .ci/lint

.PHONY: fuzz
fuzz: ## the parsers of what strangers send, 5 minutes each (FUZZTIME=10s for less, FUZZ=all for every target)
	@bash .ci/fuzz

.PHONY: cover
cover: ## statement coverage by package, report in build/cover.html
	@mkdir -p build
	@$(GO) test -coverprofile=build/cover.out -coverpkg=./... ./...
	@$(GO) tool cover -html=build/cover.out -o build/cover.html
	@$(GO) tool cover -func=build/cover.out | tail -n 1

.PHONY: bench
bench: ## the comparisons of docs/benchmarks.md, at most 45 minutes; never in CI
	@cd cmd/internal/domaintest/bench && $(GO) run .

.PHONY: clean
clean: ## remove what the targets above made
	@rm -rf bin build
