# What a machine needs beside Go, git and make is found or installed by tools/setup.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
ARGS     ?=
with     := tools/setup
golangci := $(GO) tool -modfile=tools/go.mod golangci-lint
testing  := -count=1 -timeout=15m $(if $(RUN),-run='$(RUN)')
# The packages that keep state in memory which goroutines share. The others keep theirs in the database, where the race
# detector sees nothing: they are tested as they are built.
concurrent := ./auth ./client ./delivery ./gateway ./internal/postgres ./notify
# One way to build everything, so that it is built once; the race detector alone needs C.
export CGO_ENABLED := 0
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)

##@ Run

.PHONY: up
up: ## Build, then run everything on this machine (ARGS="--listen 127.0.0.1:8080 --data DIR")
	@$(MAKE) --no-print-directory --jobs=2 build postgres
	@exec $(with) postgres -- bin/countersign up $(ARGS)

.PHONY: build
build: ## Build bin/countersign, one static binary
	@$(GO) build -ldflags='-s -w -X main.version=$(VERSION)' -o bin/countersign ./cmd/countersign

##@ Check

.PHONY: test
test: ## Everything: generated files, and all tests, with the race detector where goroutines share state
	@$(MAKE) --no-print-directory --jobs=3 setup warm-race bin/opa
	@$(MAKE) --no-print-directory verify tests

.PHONY: check
check: lint test ## Everything, and what the linters say: before a change is proposed

.PHONY: tests
tests: bin/opa ## The tests alone (PKG=./policy/... RUN=TestName: with the race detector)
	@$(GO) build -o bin/testsummary ./internal/testsummary
ifdef PKG
	@$(with) postgres cc chromium node python -- bin/testsummary -race $(testing) $(PKG)
else
	@$(with) postgres cc chromium node python -- bin/testsummary -race $(testing) $(concurrent) + $(testing) $$($(GO) list ./... | grep -vxF "$$($(GO) list $(concurrent))")
endif

.PHONY: race
race: ## All tests with the race detector
	@$(MAKE) --no-print-directory tests PKG=./...

.PHONY: lint
lint: ## The linters of .golangci.yml, go vet among them
	@$(GO) -C tools mod tidy -diff
	@$(golangci) run

.PHONY: verify
verify: ## Check that generated files, formatting and go.mod are as the generators would leave them
	@tools/verify

.PHONY: conformance
conformance: ## The protocol's own conformance suite against a server, directly and through the gateway, as a Markdown table
	@table=$$(mktemp); trap 'rm -f "$$table"' EXIT; \
	  $(with) postgres node -- $(GO) test ./cmd/countersign $(testing) -run='^TestConformance$$' -conformance.table="$$table" >&2 \
	  && cat "$$table" || { cat "$$table"; exit 1; }

.PHONY: soak
soak: ## The proofs of "at most once", and that the gateway does not grow, for long (REDEMPTIONS=1000000 ROUNDS=100 HISTORIES=500 CHECKS=2000, MINUTES=60 at most for each)
	@$(with) postgres cc -- $(MAKE) --no-print-directory soaked | grep --line-buffered -v '^=== '

REDEMPTIONS ?= 1000000
ROUNDS      ?= 100
HISTORIES   ?= 500
CHECKS      ?= 2000
MINUTES     ?= 60
soaking     := -count=1 -timeout=0 -v -soak.minutes=$(MINUTES)

.PHONY: soaked
soaked:
	@$(GO) test ./approvals $(soaking) -run='^TestRedeemRace$$' -soak.tokens=$$(( $(REDEMPTIONS) / 32 ))
	@$(GO) test ./approvals $(soaking) -run='^TestCrash$$' -soak.rounds=$(ROUNDS)
	@$(GO) test ./approvals $(soaking) -run='^TestModel' -soak.histories=$(HISTORIES) -rapid.checks=$(CHECKS)
	@$(GO) test ./cmd/countersign $(soaking) -run='^TestCrash$$' -soak.rounds=$(ROUNDS)
	@$(GO) test -race ./gateway $(soaking) -run='^TestSoak$$'

.PHONY: bench
bench: bin/opa ## Measure the performance budget, floor beside ours, and print it as a Markdown table
	@$(with) postgres chromium -- $(GO) run ./bench

.PHONY: vuln
vuln: ## Check the modules for known vulnerabilities (needs vuln.go.dev)
	@$(GO) tool -modfile=tools/go.mod govulncheck ./...

##@ Change

.PHONY: generate
generate: ## Make the generated files anew
	@$(GO) generate ./...
	@$(GO) tool templ generate -log-level=warn

.PHONY: fmt
fmt: ## Format Go and templ files
	@$(golangci) fmt
	@$(GO) tool templ fmt -log-level=warn .

##@ Set up

.PHONY: setup
setup: setup-compiler ## Find or install all that the tests need: PostgreSQL, a C compiler, a browser, npm packages, Python
	@$(with) postgres cc chromium node python

.PHONY: postgres
postgres:
	@$(with) postgres

.PHONY: setup-compiler
setup-compiler:
	@$(with) cc

.PHONY: warm warm-race
warm: # builds while packages are downloaded
	@$(GO) build ./...
warm-race: warm setup-compiler
	@$(with) cc -- env CGO_ENABLED=1 $(GO) build -race $(concurrent)

# A stock Open Policy Agent, which has to come to our decisions.
bin/opa: tools/opa.mod tools/opa.sum
	@$(GO) build -modfile=tools/opa.mod -tags=opa_no_oci -o $@ github.com/open-policy-agent/opa

.PHONY: clean
clean: ## Remove what was built or installed into the checkout
	@rm -rf bin .deps node_modules

.PHONY: help
help: ## Say what can be made
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
