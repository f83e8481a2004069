# payswitch. `make` lists the targets. Everything is made inside this folder: .venv, build, payswitch/, .payswitch.
# Paths stay relative, so that the folder may have any name.

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built
NODE_CLIENTS := tests/sdks/node/node_modules/.package-lock.json
WHOLE := tests/end_to_end
PACKAGES := switch hsm adapters benchmarks
SOURCES := setup.py pyproject.toml $(shell find protos $(PACKAGES) -name '*.proto' -o -name '*.pyx' -o -name '*.pxd')

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export BUF_CACHE_DIR := $(CURDIR)/$(VENV)/buf

ifeq ($(shell uname -s),Darwin)
# Homebrew keeps OpenSSL out of the compiler's default paths.
OPENSSL := $(shell brew --prefix openssl@3 2>/dev/null)
export CFLAGS := -I$(OPENSSL)/include $(CFLAGS)
export LDFLAGS := -L$(OPENSSL)/lib $(LDFLAGS)
endif

# A virtual environment that was moved, or whose Python is gone, is made anew.
$(shell [ "$$(cat $(INSTALLED) 2>/dev/null)" = "$$(pwd -P)" ] && $(PY) -c '' 2>/dev/null || rm -f $(INSTALLED) $(BUILT))

.PHONY: help system build proto node demo test check lint types protos imports bench bench-hsm bench-channels bench-platform bench-risk soak lock clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo 'make demo [KEEP=1]   set up, start everything, send real authorizations; KEEP=1 leaves it running'
	@echo 'make test            set up, check, test; PYTEST="tests/hsm -k mac" chooses tests'
	@echo 'make check           lint, types, protos and imports: ruff, mypy, buf lint, the import rule'
	@echo 'make bench           open-loop load beside a bare gRPC echo; BENCH="--seconds 5" passes options on'
	@echo 'make bench-hsm       the HSM beside python-pkcs11, cryptography and psec; HSM="--rounds 3" passes options on'
	@echo 'make bench-channels  ISO 8583 codec, wallets and routing beside other packages, signatures and look-ups'
	@echo 'make bench-platform  payment codes, feed, ledger, reconciliation, transactions, analytics; some of them take minutes'
	@echo 'make bench-risk      counters, rules, judging a payment, replaying a million judgements'
	@echo 'make soak            four clients on two HSM processes for a minute, keys rotated under them'
	@echo 'make build           only set up: system packages, .venv, protobuf stubs, Cython'
	@echo 'make proto           the protobuf stubs again'
	@echo 'make node            the Node clients that some tests drive the simulators with'
	@echo 'make lock            requirements.lock anew from pyproject.toml, newest versions'
	@echo 'make clean           remove what was built; .payswitch (keys, databases) stays'

system:
	@deploy/bootstrap.sh

# The stamps are written last and removed first: what was interrupted is redone from the start.
$(INSTALLED): requirements.lock | system
	@if [ -e $@ ]; then rm -f $@; else python="$$(deploy/bootstrap.sh --python)" && "$$python" -m venv --clear $(VENV); fi
	@echo 'installing the locked requirements'
	@$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	@pwd -P > $@

# A build that was cut short may leave generated files that look up to date, hence the removal.
$(BUILT): $(INSTALLED) $(SOURCES)
	@if [ ! -e $@ ]; then $(REMOVE_BUILT); fi; rm -f $@
	@echo 'building the protobuf stubs and the Cython extensions'
	@$(PY) setup.py --quiet build_protos
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

define REMOVE_BUILT
rm -rf build payswitch ./*.egg-info; \
find $(PACKAGES) -name '*.pyx' | while IFS= read -r source; do rm -f "$${source%.pyx}".c "$${source%.pyx}".*.so; done
endef

build: $(BUILT)

# The wallets' Node clients, for the tests only; Node.js itself is among the locked requirements.
$(NODE_CLIENTS): tests/sdks/node/package-lock.json | $(INSTALLED)
	@echo 'installing the wallets'"'"' Node clients'
	@cd tests/sdks/node && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" npm ci --silent --ignore-scripts
	@touch $@

node: $(NODE_CLIENTS)

proto: $(INSTALLED)
	$(PY) setup.py --quiet build_protos

demo: $(BUILT)
	@$(VENV)/bin/payswitch demo $(if $(KEEP),--keep)

check: lint types protos imports

lint: $(BUILT)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(BUILT)
	$(PY) -m mypy

protos: $(BUILT)
	$(VENV)/bin/buf lint protos

imports: $(BUILT)
	$(PY) -m pytest tests/test_imports.py

# What needs no whole product in processes of its own runs twice beside itself, a file in one of the two; the whole
# product then has the machine to itself. Both parts are run, whatever comes of the first.
test: check $(NODE_CLIENTS)
ifneq ($(PYTEST),)
	$(PY) -m pytest -ra $(PYTEST)
else
	@failed=; \
	for part in '-n 2 --dist loadfile --no-loadscope-reorder --ignore $(WHOLE)' $(WHOLE); do \
		echo "$(PY) -m pytest -ra $$part"; $(PY) -m pytest -ra $$part || failed="$$failed [$$part]"; \
	done; \
	[ -z "$$failed" ] || { echo "payswitch: tests failed in$$failed"; exit 1; }
endif
	@echo 'payswitch: every check and every test passed'

bench: $(BUILT)
	@$(VENV)/bin/payswitch bench $(BENCH)

bench-hsm: $(BUILT)
	@$(PY) -m benchmarks.hsm $(HSM)

bench-channels: $(BUILT)
	@$(PY) -m benchmarks.codec
	@$(PY) -m benchmarks.wallets
	@$(PY) -m benchmarks.routing

bench-platform: $(BUILT)
	@$(PY) -m benchmarks.payment_codes
	@$(PY) -m benchmarks.passwords
	@$(PY) -m benchmarks.feed
	@$(PY) -m benchmarks.settlement
	@$(PY) -m benchmarks.reconciliation
	@$(PY) -m benchmarks.transactions
	@$(PY) -m benchmarks.analytics
	@$(PY) -m benchmarks.followers

bench-risk: $(BUILT)
	@$(PY) -m benchmarks.velocity
	@$(PY) -m benchmarks.rules
	@$(PY) -m benchmarks.judging
	@$(PY) -m benchmarks.replay

soak: $(BUILT)
	@$(PY) -m benchmarks.hsm --soak

lock:
	@deploy/bootstrap.sh
	@"$$(deploy/bootstrap.sh --python)" -m venv build/lock
	@build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile --universal --generate-hashes --python-version 3.11 --all-extras --upgrade \
		--no-emit-index-url --quiet pyproject.toml --output-file requirements.lock

clean:
	@$(REMOVE_BUILT)
	rm -rf $(VENV) tests/sdks/node/node_modules dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
