# The bridge on a bare machine: `make run`. Every target first installs what it still needs.

PYTHON  ?= python3
WORKERS ?= 4
ARGS    ?=
EVENT   ?= contact.created
COUNT   ?= 1
PATTERN ?= \#
REQUESTS ?= 200000
EXAMPLES ?= 500
MINUTES ?= 20
SEED    ?=
FAULTS  ?= short
TARGET  ?= test
QUICK   ?=
VERSION  ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

export PYTHON

BRIDGE   := .venv/bin/bridge
# With a broker of your own, this machine needs no RabbitMQ server.
RABBITMQ := $(if $(BRIDGE_BROKER__URLS),,rabbitmq)

.PHONY: help
help: ## Show this list
	@echo 'usage: make TARGET [NAME=value]'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Start RabbitMQ and the bridge, send three events, print what a consumer receives, keep serving
	@.ci/bootstrap runtime $(RABBITMQ)
	@$(BRIDGE) dev

.PHONY: demo
demo: ## The same, then stop: exit status 0 if every event arrived
	@.ci/bootstrap runtime $(RABBITMQ)
	@$(BRIDGE) dev --once

.PHONY: send
send: ## Send signed sample events to the running bridge (EVENT=contact.deleted COUNT=10)
	@.ci/bootstrap runtime
	@$(BRIDGE) send '$(EVENT)' --count '$(COUNT)'

.PHONY: listen
listen: ## Print events as a consumer receives them (PATTERN='contact.* associate.deleted')
	@.ci/bootstrap runtime
	@$(BRIDGE) listen $(foreach pattern,$(PATTERN),'$(pattern)')

.PHONY: test
test: ## Run all tests against private RabbitMQs (WORKERS=2 ARGS='-k signature')
	@.ci/bootstrap dev rabbitmq
	PYTHONDONTWRITEBYTECODE= .venv/bin/pytest -n $(WORKERS) $(ARGS)

.PHONY: compiled
compiled: ## Compile the hot modules in place, half a minute: what runs from here on is faster
	@.ci/bootstrap dev compiler
	@.venv/bin/python .ci/compile

.PHONY: interpreted
interpreted: ## Remove what is compiled: the sources run again
	@find bridge -name '*.so' -delete

.PHONY: test-compiled
test-compiled: compiled ## Run all tests on compiled modules, then remove these
	@$(MAKE) --no-print-directory test; status=$$?; $(MAKE) --no-print-directory interpreted; exit $$status

.PHONY: test-all
test-all: ## What continuous integration runs: every check and every test (as root)
	@$(MAKE) --no-print-directory alerts-check
	@$(MAKE) --no-print-directory kubernetes-check
	@$(MAKE) --no-print-directory contract-check
	@$(MAKE) --no-print-directory image-check
	@$(MAKE) --no-print-directory test-scale
	@$(MAKE) --no-print-directory consumers-check
	@$(MAKE) --no-print-directory test-rabbitmq4
	@$(MAKE) --no-print-directory test-compiled
	@$(MAKE) --no-print-directory test

.PHONY: test-scale
test-scale: ## Replicas behind HAProxy and nginx, and a RabbitMQ cluster of three nodes, under faults
	@.ci/bootstrap dev scale
	FAULTS=$(FAULTS) .venv/bin/pytest tests/system/scale $(ARGS)
	@FAULTS=$(FAULTS) .venv/bin/python -m tests.system.faults var/scale

.PHONY: consumers-check
consumers-check: ## Run the example consumers of docs/consumers whose tools are here, under faults
	@.ci/bootstrap dev rabbitmq
	@.ci/consumers
	.venv/bin/pytest -n 2 tests/system/consumers $(ARGS)

.PHONY: test-rabbitmq4
test-rabbitmq4: ## Run all tests on a bare Debian 13 in a folder (as root), which has RabbitMQ 4 and Python 3.13
	@.ci/bootstrap dev debian
	@.venv/bin/python -m tests.system.debian $(TARGET)

.PHONY: faults
faults: ## Run the fault matrix alone and print its counts (FAULTS=full for the long form)
	@.ci/bootstrap dev rabbitmq
	FAULTS=$(FAULTS) .venv/bin/pytest -n $(WORKERS) tests/system/faults $(ARGS)
	@FAULTS=$(FAULTS) .venv/bin/python -m tests.system.faults

.PHONY: check
check: ## Lint, formatting, types, rules of imports and of what is compiled, known vulnerabilities of the dependencies
	@.ci/bootstrap dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pytest -q tests/test_imports.py tests/test_compiled.py
	@.ci/audit

.PHONY: alerts-check
alerts-check: ## Check the alert rules with promtool, and run their tests
	@.ci/promtool check config config/prometheus/prometheus.yml
	@.ci/promtool test rules config/prometheus/alerts_test.yml

.PHONY: kubernetes-check
kubernetes-check: ## Render config/kubernetes, and validate it against Kubernetes' schemas
	@.ci/bootstrap dev
	@.venv/bin/python -m tests.system.kubernetes

.PHONY: contract
contract: ## Write the contract's documents anew, from the catalogue and the golden samples
	@.ci/bootstrap dev
	@.venv/bin/python -m tests.contract

.PHONY: contract-check
contract-check: ## Parse the AsyncAPI documents with AsyncAPI's own parser: even a hint is an error
	@.ci/bootstrap dev asyncapi
	@mkdir -p var
	@$(BRIDGE) contract asyncapi --config tests/contract/routed.toml >var/asyncapi-routed.json
	@node .ci/asyncapi/check.mjs docs/contract/asyncapi.json var/asyncapi-routed.json

.PHONY: contract-release
contract-release: ## Part of a release: later contracts are compared with the present one
	@.ci/bootstrap dev
	@.venv/bin/python -m tests.contract --released

.PHONY: docs
docs: ## Write anew the parts of docs/ that are made from the code
	@.ci/bootstrap dev
	@.venv/bin/python -m tests.project.docs

.PHONY: fuzz
fuzz: ## Throw random and mutated requests at a bridge (REQUESTS=200000 SEED=7)
	@.ci/bootstrap dev rabbitmq
	@.venv/bin/python -m bench.fuzz --requests '$(REQUESTS)' $(if $(SEED),--seed '$(SEED)')

.PHONY: openapi-fuzz
openapi-fuzz: ## Drive a bridge by its own OpenAPI document, for longer than make test (EXAMPLES=500 SEED=7)
	@.ci/bootstrap dev rabbitmq
	EXAMPLES='$(EXAMPLES)' SEED='$(or $(SEED),1)' .venv/bin/pytest --timeout 7200 tests/system/openapi/test_driven.py $(ARGS)

.PHONY: soak
soak: ## Steady load and random faults, then the counts (MINUTES=20 SEED=7)
	@.ci/bootstrap dev rabbitmq
	@.venv/bin/python -m bench.soak --minutes '$(MINUTES)' $(if $(SEED),--seed '$(SEED)')

.PHONY: bench-hostile
bench-hostile: ## How long a signed event takes while other clients flood the bridge without a secret (ARGS='--tls --against ../before')
	@.ci/bootstrap dev
	@.venv/bin/python -m bench.hostile $(ARGS)

.PHONY: bench
bench: ## Measure the bridge and its peers, at most 40 minutes (QUICK=1 at most 10; ARGS='--against ../before')
	@.ci/bootstrap bench rabbitmq
	@.venv/bin/python -m bench $(if $(QUICK),--quick) $(ARGS)

.PHONY: bench-faults
bench-faults: ## Put the bridge and its peers through five faults: what each refuses and loses (ARGS='-k go')
	@.ci/bootstrap bench rabbitmq
	@.venv/bin/python -m bench.faults $(ARGS)

.PHONY: check-cost
check-cost: compiled ## Count the instructions of an event: no more than bench/cost.toml says (ARGS=--write)
	@.ci/bootstrap dev valgrind
	@.venv/bin/python -m bench.instructions $(ARGS); status=$$?; $(MAKE) --no-print-directory interpreted; exit $$status

.PHONY: secrets
secrets: ## Make the passwords and the webhook's secret for docker compose, where they are missing
	@.ci/secrets

.PHONY: image
image: ## Build the image superoffice-bridge with docker or podman
	@for engine in docker podman; do \
	    "$$engine" info >/dev/null 2>&1 || continue; \
	    exec "$$engine" build --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' --tag superoffice-bridge .; \
	done; \
	echo 'make image: neither docker nor podman is here and running; make image-check needs neither' >&2; exit 1

.PHONY: image-check
image-check: ## Build the same image on Debian's Python without any engine, run it, and print its size
	@.ci/bootstrap dev image
	@.venv/bin/python -m tests.system.image

.PHONY: lock
lock: ## Move the lock files to the newest releases that pyproject.toml allows
	@.ci/lock

.PHONY: clean
clean: interpreted ## Remove what make and the tools made; a spool in var/ stays, it may hold events
	rm -rf .venv bench/peers/node/node_modules .ci/asyncapi/node_modules docs/consumers/*/node_modules docs/consumers/*/target
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist var/install.log var/consumers var/peers var/tools var/debian13*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
