# Dishmesh. `make up` runs the whole platform on this machine, `make test` checks everything that needs only it.

BIN      := bin
SERVICES := gateway user menu pricing order payment restaurant delivery notification analytics
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -X github.com/dishmesh/dishmesh/services/internal/cli.version=$(VERSION)
UPFLAGS  ?=
CLUSTERFLAGS ?=
# The contract's fuzzer: how long it may take, the seed of a run to repeat, and where it is installed.
SECONDS  ?= 60
SEED     ?=
REQUIREMENTS := services/e2e/contract/requirements.txt
FUZZER   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dishmesh/schemathesis
BUF      := go tool -modfile=.ci/tools/go.mod buf
PROFILE  ?= embedded
SEEDS    ?= 1..200

export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help build tool servers generate contracts contracts-release up down tilt status test test-all test-faults test-profiles conformance unit e2e fuzz fuzz-tool race vet lint fmt-check cross clean cluster cluster-down test-cluster

help: ## show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

build: ## build the services and the dishmesh program into bin/
	@mkdir -p $(BIN)
	@go build -ldflags "$(LDFLAGS)" -o $(BIN)/ $(addprefix ./services/cmd/,$(SERVICES)) ./services/cmd/dishmesh

tool: ## build the dishmesh program alone
	@mkdir -p $(BIN)
	@go build -ldflags "$(LDFLAGS)" -o $(BIN)/ ./services/cmd/dishmesh

servers: ## fetch the servers of the other profiles: Kafka, Redis, RabbitMQ, PostgreSQL, MariaDB
	@components/servers.sh

generate: ## write the code that follows from the protobuf contracts
	go generate ./services/...

contracts: ## check the contracts: buf lint, buf and oasdiff against the last release, generated code, recorded samples
	@$(BUF) --version >/dev/null # built once, which takes some minutes
	go test -vet=off ./services/internal/contract/...

contracts-release: contracts ## keep the contracts of today as those of the last release
	$(BUF) build services --exclude-source-info -o services/internal/contract/released.binpb
	cp services/openapi.yaml services/internal/contract/released.openapi.yaml

up: build ## build what is missing, run the platform and show a first order (UPFLAGS="--time-scale 0" for flags)
	@$(BIN)/dishmesh up --order $(UPFLAGS)

down: build ## stop the platform
	@$(BIN)/dishmesh down

tilt: tool ## work on the code with Tilt, on the kind cluster; it is made if it is not there
	@tilt/tilt.sh up

cluster: build ## make the kind cluster with Dapr, Istio and the ten services, or bring it up to date (CLUSTERFLAGS="--images offline")
	@$(BIN)/dishmesh cluster up $(CLUSTERFLAGS)

cluster-down: build ## remove the cluster and everything that was made for it
	@$(BIN)/dishmesh cluster down

status: build ## show every process of the platform
	@$(BIN)/dishmesh status

test: fmt-check vet lint contracts cross build unit conformance e2e ## run every test that needs only this machine

test-all: ## run them with a longer contract test of other cases each time, and the unit tests once more under the race detector (needs a C compiler)
	$(MAKE) test CONTRACT_SECONDS=300 CONTRACT_SEED=random
	$(MAKE) race

test-faults: build ## kill, crash and hang processes by seed, stop the broker, audit: half an hour (SEEDS=1..200 PROFILE=embedded)
	$(BIN)/dishmesh chaos kill --profile $(PROFILE) --seeds $(SEEDS) --keep-going
	$(BIN)/dishmesh chaos crash --profile $(PROFILE) --seeds 1..2 --keep-going
	$(BIN)/dishmesh chaos hang --profile $(PROFILE) --seeds 1..5 --keep-going
	$(BIN)/dishmesh chaos broker-stop --profile $(PROFILE) --for 10s --seeds 1..3 --keep-going
	$(BIN)/dishmesh chaos broker-stop --profile $(PROFILE) --for 60s

unit: ## run the unit and property tests
	go test -vet=off -timeout 5m $$(go list ./services/... | grep -v /services/e2e)
	go test -vet=off -tags acquirer_no_idempotency ./services/city/acquirer
	cd services/internal/manifest && go test -mod=readonly -vet=off -count=1 ./...
	cd components/runtime && go test -mod=readonly -trimpath -tags stablecomponents ./resources ./catalogue ./daprd/redisatomic ./daprd/rabbitconfirmed

e2e: build ## run the end-to-end tests on the real platform
	DISHMESH_BIN=$(CURDIR)/$(BIN) go test -vet=off -count=1 -v -timeout 20m ./services/e2e
	go test -vet=off -count=1 -v -timeout 2m ./services/e2e/calls
	go test -vet=off -count=1 -timeout 2m ./services/e2e/cluster

conformance: build ## a short sample of the conformance suite on the embedded profile
	$(BIN)/dishmesh conformance --quick --only $(SAMPLE)

# What no unit test can know, in well under a minute.
comma := ,
space := $(subst ,, )
SAMPLE := $(subst $(space),$(comma),$(strip order-many-keys redelivery dead-letter consumer-app-killed transaction etag create-only \
	crash-in-transaction workflow-app-killed broker-crash broker-outage-short))

test-profiles: build ## the whole conformance suite on every profile that can run here; writes components/CONFORMANCE.md (half an hour)
	$(BIN)/dishmesh conformance --all $(CONFORMANCEFLAGS)

fuzz: build fuzz-tool ## drive every operation of openapi.yaml against the running gateway (SECONDS=300 SEED=1)
	DISHMESH_BIN=$(CURDIR)/$(BIN) CONTRACT_SECONDS=$(SECONDS) CONTRACT_SEED=$(or $(SEED),random) go test -vet=off -count=1 -v -timeout 40m -run '^TestContract$$' ./services/e2e

fuzz-tool: ## install the pinned fuzzer into a Python environment in the user's cache
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "schemathesis needs Python 3.10 or later"; exit 1; }
	@test "$$(cat $(FUZZER)/requirements.txt 2>/dev/null)" = "$$(cat $(REQUIREMENTS))" || { \
	  rm -rf $(FUZZER) && python3 -m venv $(FUZZER) && $(FUZZER)/bin/pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS) && \
	  cp $(REQUIREMENTS) $(FUZZER)/requirements.txt; }

# KEEP=0 removes the cluster at the end. RUN=Canary runs some of the tests, and writes nothing.
test-cluster: build ## prove everything on a real cluster, which is made if need be; writes k8s/PROOF.md (18 minutes)
	@$(BIN)/dishmesh cluster up $(CLUSTERFLAGS)
	@DISHMESH_BIN=$(CURDIR)/$(BIN) go test -vet=off -count=1 -v -parallel 8 -timeout 60m ./services/e2e/cluster -data $(CURDIR)/.dishmesh -commit $(VERSION) \
	  $(if $(RUN),-run '$(RUN)',-proof $(CURDIR)/k8s/PROOF.md); code=$$?; \
	  if [ "$(KEEP)" = 0 ]; then $(BIN)/dishmesh cluster down || code=1; fi; exit $$code

race: ## run the unit tests under the race detector
	CGO_ENABLED=1 go test -race -timeout 20m $$(go list ./services/... | grep -v /services/e2e)

vet: ## go vet
	go vet ./services/...
	cd services/internal/manifest && go vet -mod=readonly ./...

lint: ## staticcheck, of the version that .ci/tools pins
	go tool -modfile=.ci/tools/go.mod staticcheck ./services/...
	linter=$$(go tool -modfile=.ci/tools/go.mod -n staticcheck) && cd services/internal/manifest && $$linter ./...

fmt-check: ## fail on files that gofmt would change
	@unformatted=$$(gofmt -l services components); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

cross: ## check that everything builds for macOS
	GOOS=darwin GOARCH=arm64 go build ./services/...

clean: ## remove what was built; data and the runtime cache stay
	rm -rf $(BIN)
