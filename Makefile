# Start with `make demo` or `make test`. Every target installs what it needs, and prints what it does.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.ONESHELL:
.DEFAULT_GOAL := help

VENV := .venv
FAB := $(VENV)/bin/fab
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=CI,DEBIAN_FRONTEND,DEEPRIG_INVENTORY)
export DEBIAN_FRONTEND := noninteractive
PYTHON ?= python3

.PHONY: help setup demo check test test-all all-tests coverage lint lint-python lint-playbooks audit sbom \
  fast-unit unit page-test monitoring-test lab-test extended-test bench verify-advise lab \
  tools lab-image lock clean

help:           ## This list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.runtime: requirements.lock provision/cli/program.py
	@echo "== Python packages into $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "deeprig needs Python 3.10 or newer; choose one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv; } >/dev/null
	[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	# Fabric's own `fab -H HOST -- command` accepts any host key; this program checks them.
	{ echo "#!$(abspath $(VENV))/bin/python"; cat provision/cli/program.py; } > $(FAB)
	chmod 755 $(FAB)
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "== Tools for the tests into $(VENV)"
	$(VENV)/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

# A build for CPUs, on which the benchmarks run over gloo. Its requirements have hashes; the wheel itself
# differs between indexes and has none (docs/decisions/supply-chain.md).
$(VENV)/.torch: requirements-torch.lock lab/build/wheels.py $(VENV)/.dev
	@echo "== PyTorch (for CPUs) into $(VENV)"
	$(VENV)/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements-torch.lock
	$(VENV)/bin/pip install -qq --disable-pip-version-check --no-deps $$($(VENV)/bin/python -m lab.build.wheels)
	touch $@

# The packages that the lab needs on this machine; apt runs only if one is missing.
lab: $(VENV)/.runtime
	@missing=$$($(VENV)/bin/python -m lab.build.host) || exit $$?
	if [ -n "$$missing" ]; then
	  echo "== Packages for the lab: $$missing"
	  $(SUDO) apt-get update -q >/dev/null
	  $(SUDO) apt-get install -y -q --no-install-recommends $$missing >/dev/null
	fi

setup: $(VENV)/.runtime ## Python packages for your own rigs, nothing else
	@echo "Ready. Next: . $(VENV)/bin/activate, then fab -l"

demo: lab       ## Turn a lab rig from mining OS into deep learning host, twice
	@$(SUDO) $(VENV)/bin/python -m lab.demo

check: $(VENV)/.dev   ## Lint and the fast unit tests, without PyTorch and without root
	@$(MAKE) -j2 --output-sync=target lint fast-unit

# What waits for downloads and disks runs beside what computes.
test: $(VENV)/.dev   ## Lint and all tests but the extended ones
	@$(MAKE) -j2 --output-sync=target lab-image $(VENV)/.torch lint
	$(MAKE) all-tests

test-all: test extended-test coverage audit sbom bench verify-advise   ## Also extended tests, audit, measurements

audit: $(VENV)/.dev   ## bandit over our code, pip-audit over the lock files
	@echo "== bandit"
	$(VENV)/bin/bandit -q -c pyproject.toml -r agent provision
	echo "== pip-audit"
	$(VENV)/bin/python -m lab.audit

SBOM_OF := requirements.lock agent/requirements.txt tests/rig/requirements.txt \
  playbooks/files/torch-tools.txt playbooks/files/torch-cuda13.txt playbooks/files/uv.txt
sbom: $(VENV)/.dev   ## Bills of materials (CycloneDX) of what users and rigs install, into build/sbom
	@mkdir -p build/sbom
	for lock in $(SBOM_OF); do
	  name=$${lock%.*}
	  PYTHONWARNINGS=ignore::UserWarning $(VENV)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	    --output-format JSON -o "build/sbom/$${name//\//-}.cdx.json" "$$lock"
	done
	echo "Bills of materials: $$(ls build/sbom | wc -l), in build/sbom"

lint: lint-python lint-playbooks   ## ruff, mypy, ansible-lint

lint-python: $(VENV)/.dev
	@echo "== ruff, mypy, plain English"
	$(VENV)/bin/ruff check -q .
	$(VENV)/bin/ruff format -q --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m lab.plain_english

# ansible-lint takes half a minute, and depends on nothing but the playbooks.
lint-playbooks: $(VENV)/.playbooks
$(VENV)/.playbooks: $(shell find playbooks -type f) ansible.cfg $(VENV)/.dev
	@echo "== ansible-lint"
	PATH="$$PWD/$(VENV)/bin:$$PATH" ansible-lint --offline -q playbooks
	touch $@

# A file's tests share rigs and servers, so each file runs in one process (--dist loadfile).
PYTEST := $(VENV)/bin/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations=15

fast-unit: $(VENV)/.dev   ## Unit tests that take less than a second each
	@echo "== Fast unit tests"
	$(VENV)/bin/pytest -q -n 2 --dist worksteal -m "not slow" tests/unit

unit: $(VENV)/.torch   ## Unit tests: no root
	@echo "== Unit tests"
	$(PYTEST) tests/unit tests/torch

# Apart from the tests: it takes half of their time again.
coverage: $(VENV)/.torch   ## Lines of agent and provision that the unit tests reach
	@echo "== Coverage"
	$(PYTEST) --cov=agent --cov=provision --cov-report= tests/unit
	$(VENV)/bin/coverage report --format=total | sed 's/^/Coverage of agent and provision: /; s/$$/ %/'

page-test: $(VENV)/.dev tools   ## The status page in a real browser
	@echo "== Tests of the status page"
	$(PYTEST) tests/page

monitoring-test: $(VENV)/.dev tools   ## Prometheus rules and Grafana dashboards
	@echo "== Tests of rules and dashboards"
	$(PYTEST) tests/monitoring

# Programs for tests and benchmarks. A test whose program is missing names it.
tools: $(VENV)/.dev
	@if [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
	  missing=$$($(VENV)/bin/python -m lab.build.host tests/packages.txt) || exit $$?
	  if [ -n "$$missing" ]; then
	    echo "== Packages for the tests: $$missing"
	    $(SUDO) apt-get update -q >/dev/null
	    $(SUDO) apt-get install -y -q --no-install-recommends $$missing >/dev/null || true
	  fi
	fi
	$(VENV)/bin/python -m lab.build.tools prometheus prometheus-node-exporter || true

# The lab needs root. Without root or sudo, its tests are skipped with a reason.
AS_ROOT = as=; if [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then as="$(SUDO)"; \
  $(MAKE) lab || echo "The lab's packages cannot be installed here; its tests name the reason."; fi

lab-image: tools
	+@$(AS_ROOT)
	$$as $(VENV)/bin/python -m lab.build.image

all-tests: $(VENV)/.torch tools
	@echo "== All tests but the extended ones"
	$(AS_ROOT)
	$$as $(PYTEST) -m "not extended" tests/lab tests/torch tests/page tests/monitoring tests/unit

lab-test: $(VENV)/.torch tools   ## Lab tests: real sshd, systemd, apt in lab rigs
	@echo "== Lab tests"
	$(AS_ROOT)
	$$as $(PYTEST) -m "not extended" tests/lab

extended-test: $(VENV)/.torch tools   ## Tests that take minutes and seldom fail
	@echo "== Extended tests"
	$(AS_ROOT)
	$$as $(PYTEST) -m extended

bench: lab tools   ## Timing promises: a no-op provision, the agent beside others, a first conversion
	@$(SUDO) $(VENV)/bin/python -m lab.measure.bench
	$(SUDO) $(VENV)/bin/python -m lab.measure.bench_agent
	$(SUDO) $(VENV)/bin/python -m lab.measure.bench_conversion

verify-advise: $(VENV)/.torch   ## What fab advise predicts, against measurements (about 12 min)
	@$(SUDO) $(VENV)/bin/python -m lab.verify_advise

# uv's options for every lock: versions and hashes, but no package sources.
LOCK := $(VENV)/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-header --no-annotate --python-version 3.10

lock: $(VENV)/.dev   ## Pin the dependencies, with hashes
	@$(LOCK) --universal pyproject.toml -o requirements.lock
	$(LOCK) --universal --group agent -o agent/requirements.txt
	$(LOCK) --universal -c requirements.lock -c agent/requirements.txt --extra dev --group agent \
	  pyproject.toml -o requirements-dev.lock
	# Only for rigs, and so without markers: a converged environment is recognised by names and versions.
	$(LOCK) --python-platform linux -c requirements.lock --group validation \
	  -o tests/rig/requirements.txt
	$(LOCK) --python-platform linux -c agent/requirements.txt --group torch-tools \
	  -o playbooks/files/torch-tools.txt
	$(LOCK) --python-platform linux -c requirements-dev.lock --group installer -o playbooks/files/uv.txt
	# The public wheels, not the builds that this machine's pip is configured to find.
	$(LOCK) --no-config --python-platform x86_64-manylinux_2_28 -c playbooks/files/torch-tools.txt \
	  --group torch -o playbooks/files/torch-cuda13.txt
	# PyTorch's requirements without those of CUDA.
	$(LOCK) --universal -c requirements-dev.lock --group torch \
	  | awk '/^[^ ]/ { is_kept = $$0 !~ /^(torch|nvidia|cuda|triton)[-=]/ } is_kept' \
	  > requirements-torch.lock

clean:          ## Stop the lab, remove what was built here (the lab's image stays cached)
	@[ ! -x $(FAB) ] || $(SUDO) $(FAB) lab.down
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache log
