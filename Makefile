# The commands of this repository. They build and fetch only into bin/ and .cache/,
# which git ignores.

# The second generation of encoding/json decodes a post in half the time.
export GOEXPERIMENT := jsonv2
# Tor may not touch the public network, in tests and everywhere else in this repository.
export CWTCH_RELAY_TOR_TESTING_ONLY := 1
export CGO_ENABLED ?= 0

LINT_VERSION := v2.15.0
LINT := .cache/golangci-lint-$(LINT_VERSION)

NFPM_VERSION := v2.41.3
NFPM := .cache/nfpm-$(NFPM_VERSION)
PREFIX ?= /usr/local

.PHONY: install release release-test build demo cluster-demo test systemd-test lint examples fuzz bench interop generate tor gcc chromium python node postgres clean

build: ## all programs, into bin/
	go build -trimpath -o bin/ ./cmd/...

demo: tor build ## a private Tor network, a relay, three people who talk through it
	bin/cwtch-demo

cluster-demo: tor build ## the same network, three relays that replicate, and a group that lives on them without a server
	bin/cwtch-demo -cluster

# Packages of one goroutine, or one for each simulation or derivation of a key, and tests that
# trace processes call by call: the race detector would only make them slower.
UNRACED := ./core/exchange ./core/identity ./core/lab ./docs ./plugins/peersync/mesh ./plugins/storage/internal/powerloss ./sdk/negentropy

# Tests of commands, of damaged files, of times and of whole programs in the others, which the race
# detector makes take minutes more and which meet no concurrency that the rest does not.
PLAIN_TESTS := ^(TestAttacks|TestClusterDemo|TestDamageIsFoundAndTheRestSalvaged|TestDemo|TestFloodPassesOverEveryTransport|TestKilledCopyResumes|TestOperationsPage|TestQuick|TestScripts)$$
PLAIN_PACKAGES := ./cmd/cwtch-bench ./cmd/cwtch-group ./cmd/e2e ./sdk/peersync/peersynctest

# One package more at a time than there are processors, because many tests wait. make lint has
# all that go vet finds.
TEST := go test -vet=off -timeout 40m -p $(shell expr $$(nproc) + 1)

test: tor gcc chromium build ## every test, those over Tor included, except the examples
	CGO_ENABLED=1 $(TEST) -race -skip '$(PLAIN_TESTS)' $$(go list ./... | grep -v -e /examples/ $(patsubst ./%,-e /%$$,$(UNRACED) ./plugins/storage/bolt ./plugins/storage/sqlite))
	$(TEST) -run '$(PLAIN_TESTS)' $(PLAIN_PACKAGES)
	# With the race detector the stores prove less, and the suite of the protocol meets fewer faults.
	CGO_ENABLED=1 $(TEST) -race -run 'TestContract/^direct$$|Reader|Compaction|WhileMerging' ./plugins/storage/bolt ./plugins/storage/sqlite
	$(TEST) $(UNRACED) ./plugins/storage/bolt ./plugins/storage/sqlite ./sdk/plugintest/protocoltest
	$(TEST) -run TestLabSeeds ./cmd/cwtch-relay
	# Several simulations at a time, a plugin in a process of its own, and derivations that take turns.
	CGO_ENABLED=1 $(TEST) -race -run 'TestSameSeedSameBytes|TestProcess|TakeTurns' ./core/lab ./core/identity

systemd-test: tor ## docs/operations.md as written, on a copy of this machine with a real systemd; needs root
	CWTCH_RELAY_CHANGE_THIS_MACHINE=1 cmd/e2e/testdata/systemd go test -count=1 ./cmd/e2e -run TestOperationsUnderSystemd -v

lint: $(LINT) ## imports between packages, formatting and mistakes
	$(LINT) run ./...

$(LINT):
	mkdir -p .cache
	GOBIN=$(CURDIR)/.cache go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv .cache/golangci-lint $(LINT)

examples: python node postgres ## every example and skeleton, built and used as an outside author would
	go test -count=1 -timeout 30m ./examples/check

FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

bench: build ## the relay against a load generator; writes bench.json
	bin/cwtch-bench -relay bin/cwtch-relay -json bench.json

interop: ## programs of third parties, in both roles: the Rust client of Cwtch's author, Negentropy of go-nostr
	core/tapir/interop/run.sh
	cd sdk/negentropy/difftest && go test -count=1 ./...

install: build ## the programs, units and the entry of the menu, into DESTDIR/PREFIX
	packaging/generate-manuals .cache/manuals
	packaging/install $(PREFIX) "$(DESTDIR)" bin .cache/manuals

release: $(NFPM) ## archives and Debian packages for amd64, arm64 and armv7, into dist/
	NFPM=$(CURDIR)/$(NFPM) packaging/build-release dist

release-test: $(NFPM) ## the last commit as people get it: packages in a clean Debian, the image in a container; needs root
	NFPM=$(CURDIR)/$(NFPM) .ci/release

$(NFPM):
	mkdir -p .cache
	GOBIN=$(CURDIR)/.cache go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	mv .cache/nfpm $(NFPM)

generate: ## protobuf code and docs/configuration.md
	go generate ./...

tor: ## install tor if it is missing
	@command -v tor >/dev/null || .ci/install tor

gcc: ## install a C compiler if it is missing; the race detector needs one
	@command -v gcc >/dev/null || .ci/install gcc libc6-dev

python: ## install Python if it is missing; a skeleton and an example use it
	@/usr/bin/python3 -c 'import ensurepip, sqlite3' 2>/dev/null || .ci/install python3 python3-venv

chromium: ## install Chromium if it is missing, and the npm that fetches axe-core; tests look at the console in it
	@command -v chromium >/dev/null && command -v npm >/dev/null || .ci/install chromium npm

node: ## install Node if it is missing; one skeleton uses it
	@command -v npm >/dev/null || .ci/install nodejs npm

postgres: ## install PostgreSQL if it is missing and there is apt; one example uses it
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || ! command -v apt-get >/dev/null || .ci/install postgresql

clean:
	rm -rf bin .cache bench.json
