# Every target is what CI runs; CI runs nothing that is not a target.
GO       ?= go
FUZZTIME ?= 100000x
ROUNDS   ?= 250
DURATION ?= 10m
TESTARGS ?=
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

LINT := $(GO) tool -modfile=tools/lint/go.mod golangci-lint

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## install what building and testing needs (Debian, root)
	@scripts/setup.sh

.PHONY: build
build: ## build bin/litefs
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/litefs ./cmd/litefs

.PHONY: test
test: setup ## run every test with the race detector, print coverage
	@scripts/consul.sh >/dev/null
	$(GO) test -race -shuffle=on -timeout=40m -coverpkg=./... -coverprofile=coverage.out $(TESTARGS) ./...
	@scripts/coverage.sh coverage.out

.PHONY: fmt
fmt: ## rewrite the sources in house format
	$(LINT) fmt ./...

.PHONY: fmt-check
fmt-check: ## formatting and go.mod are as the tools write them
	$(GO) mod tidy -diff
	$(LINT) fmt --diff ./...

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: lint
lint: ## golangci-lint with the rules in .golangci.yml
	$(LINT) run ./...

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME each: a number of inputs (100000x) or a time
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## benchmarks of the packages, of SQLite on a mount, and of replication
	@scripts/setup.sh libsqlite3-dev
	$(GO) test -run '^$$' -bench . -benchmem $(TESTARGS) ./...
	@bench/mount.sh
	@bench/replication.sh

.PHONY: demo
demo: ## a primary and a replica at work on this machine, with real databases
	@scripts/setup.sh proj-data
	@$(MAKE) --no-print-directory build
	@scripts/demo.sh

.PHONY: torture
torture: setup ## the long runs: all mount tests, ROUNDS kills of each kind, two nodes for DURATION
	LITEFS_TEST_LONG=1 $(GO) test -count=1 -timeout=60m -run 'Crash|Fail|Fault|Full' .
	LITEFS_TEST_LONG=1 $(GO) test -count=1 -timeout=60m ./internal/sqlitetest
	LITEFS_TEST_LONG=1 $(GO) test -count=1 -timeout=60m -v -run 'Kill|Stuck' ./internal/crashtest -rounds=$(ROUNDS)
	$(GO) test -count=1 -timeout=0 -v ./internal/torturetest -duration=$(DURATION)

.PHONY: conformance
conformance: build ## SQLite's own tests on a mount; FULL=1, TOOLS=1, PASSTHROUGH=on|off|both
	@scripts/setup.sh dpkg-dev gcc make python3 tcl tcl-dev util-linux xz-utils zlib1g-dev
	@conformance/run.sh $(TESTARGS)

.PHONY: ci
ci: setup fmt-check vet lint build test fuzz ## all that must pass before a change lands
