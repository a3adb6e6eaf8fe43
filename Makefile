# `make run` and `make test` are all the set-up there is. Both make a virtual environment of their own and
# install what they need into it; a second run finds that done (the stamps in $(VENV)) and starts at once.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.PHONY: help run fast unit test lint types core pages records dist compile lock clean properties campaign \
  campaign-faults hostile abuse mutants shell-mutants mutation compat compat-native cpython bench bench-ports ports \
  native native-check

PIP    := $(BIN)/python -m pip --disable-pip-version-check install -qq
PYTEST := $(BIN)/python -m pytest

# $(call install,PACKAGES,WHY): Debian packages when root, else the command to type.
define install
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
  echo "maitred: installing $(1) ($(2))"; \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1) >/dev/null; \
else \
  echo "maitred: $(2). Install it, then try again:  sudo apt-get install $(1)" >&2; exit 1; \
fi
endef

##@ Use it

help: ## Show this list
	@echo "maitred: seats each client at the least-busy of several copies of an unmodified server"
	@sed -nE 's/^##@ (.*)$$/|\1/p; s/^([a-z-]+):.*## (.*)$$/\1|\2/p' Makefile | while IFS='|' read -r what why; do \
	  if [ -n "$$what" ]; then printf '  make %-16s %s\n' "$$what" "$$why"; else printf '\n%s\n' "$$why"; fi; done

# --------------------------------------------------------------------------------------- environments

$(VENV)/.made:
	@command -v python3 >/dev/null || [ $(PYTHON) != python3 ] || { \
	  $(call install,python3 python3-venv,Python is missing); }
	@$(PYTHON) -c pass 2>/dev/null || { echo "maitred: $(PYTHON) does not run." \
	       "Name a Python 3.11 or newer:  make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "maitred: needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version)." \
	       "Name another:  make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  $(call install,python3-venv,$(PYTHON) has no venv module); }
	@echo "maitred: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: $(VENV)/.made pyproject.toml
	@echo "maitred: installing maitred into $(VENV)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml $(wildcard requirements/*.txt)
	@echo "maitred: installing maitred and its tests' needs into $(VENV) (a minute or two the first time)"
	@locked=; [ "$(LOCKED)" = no ] || locked=$$($(BIN)/python requirements/lock.py --fits); \
	if [ -n "$$locked" ]; then \
	  $(PIP) --require-hashes --only-binary :all: -r "$$locked"; $(PIP) --no-deps -e .; \
	else \
	  $(PIP) -e '.[test,verify]'; \
	fi
	@touch $(VENV)/.base $@

$(VENV)/.compat: $(VENV)/.test
	@$(PIP) -e '.[compat]'
	@touch $@

$(VENV)/.compile: $(VENV)/.base
	@$(PIP) -e '.[compile]'
	@touch $@

run: $(VENV)/.base ## Run the main job: three copies of examples/hello.py behind one port
	@echo
	@echo "Three copies of an unmodified server, one address. From another terminal, try:"
	@echo "  open http://127.0.0.1:8000/              reload: the pid is the copy that answered"
	@echo "  curl http://127.0.0.1:8000/              the same, without a browser"
	@echo "  $(BIN)/maitred status                  who serves, how many clients each has, who waits"
	@echo "  kill -9 PID                              a pid from the status: a server's, or the Distributor's;"
	@echo "                                           then curl and look again"
	@echo "Ctrl-C here stops it; kill -TERM lets clients finish first."
	@echo
	@exec $(BIN)/maitred run -b 127.0.0.1:8000 --static 3 examples/hello.py

compile: compiler $(VENV)/.compile ## Compile what every connection passes with mypyc, for this interpreter
	@$(BIN)/python -m maitred.compiled
	@$(BIN)/maitred --version

# NATIVE: where the library goes.  The functions that it stands in for, and no others, can be seen from outside.
NATIVE       ?= reference/native/built
NATIVE_FLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -g
NATIVE_PARTS := $(addprefix reference/native/,machine.c wire.c held.c endpoint.c standin.c)
SANITIZED    := -O1 -fsanitize=undefined -fno-sanitize-recover=all

native: compiler ## Build the native stand-in, which servers in other languages are started with (LD_PRELOAD)
	@mkdir -p $(NATIVE)
	@$${CC:-cc} $(NATIVE_FLAGS) -O2 -fPIC -shared -fvisibility=hidden -o $(NATIVE)/libmaitred.so.new $(NATIVE_PARTS) -pthread -ldl
	@mv $(NATIVE)/libmaitred.so.new $(NATIVE)/libmaitred.so
	@echo "maitred: $(NATIVE)/libmaitred.so"

.PHONY: compiler native-driver
compiler:
	@command -v $${CC:-cc} >/dev/null || { $(call install,gcc libc6-dev,a C compiler is missing); }

##@ While you change something

QUICK := not campaign and not minutes and not compat
UNIT  := not properties and not campaign and not system and not compat and not slow
CORE  := tests/core tests/model/world/test_world.py

fast: $(VENV)/.test ## Check style and types, test the core and the model with few examples: some ten seconds
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && echo "== style: ok"
	@$(MAKE) -j2 --output-sync=target types fast-tests

.PHONY: fast-tests
fast-tests:
	@HYPOTHESIS_PROFILE=fast $(PYTEST) -q -n 2 --dist worksteal -m "$(UNIT)" tests/core tests/model

unit: $(VENV)/.test ## Run the quick tests: no processes, no long explorations
	@$(PYTEST) -q -n 2 --dist worksteal -m "$(UNIT)"

pages: $(VENV)/.test ## Write every generated page that takes less than two minutes; name the commands of the others
	@$(BIN)/python -m docs.pages

##@ Before you submit

test: compiler lint ## Run every check: style, types, imports, all tests, the core's branch coverage
	@$(MAKE) -j2 --output-sync=target types core
	@echo "== all other tests, three at a time (many wait for processes), but for what is recorded (make records)"
	@$(PYTEST) -q -n 3 --dist worksteal --recorded --alone -m "$(QUICK)" $(CORE:%=--ignore=%) --durations=10
	@echo "maitred: all checks passed: style, types, imports, tests, and every branch of the core"

lint: $(VENV)/.test ## Check style (ruff) and the import contracts
	@echo "== style"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== imports"
	@$(BIN)/lint-imports --no-logo

native-driver: compiler # the native machine, with sanitizers, as a program that reads events
	@mkdir -p $(NATIVE)
	@$${CC:-cc} $(NATIVE_FLAGS) $(SANITIZED) -fsanitize=address -Ireference/native -o $(NATIVE)/machine-driver \
	  tests/native/driver.c reference/native/machine.c reference/native/wire.c

types: $(VENV)/.test ## Check types (mypy --strict)
	@echo "== types"
	@$(BIN)/python -m mypy --strict

core: $(VENV)/.test ## Run the tests of the core: every branch is covered, or it fails
	@echo "== tests of the core, and its branch coverage: 100 % or it fails"
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest -q -m "$(QUICK)" $(CORE)
	@$(BIN)/python -m coverage report --include='*/maitred/core/*' --fail-under=100 --precision=2

ports: compiler $(VENV)/.test ## Build the ports in C and Rust, and check that the one in Rust does what every vector asks
	@mkdir -p build/ports
	@$${CC:-cc} -O2 -Wall -Wextra -Werror -o build/ports/endpoint examples/ports/c/endpoint.c && echo "== C: built"
	@$(PYTEST) -q tests/conform/test_ports.py

records: $(VENV)/.test ## Run the long tests whose sources have changed since they were recorded, and record them
	@$(PYTEST) -q -n 2 --dist worksteal --recorded --record -m "recorded and $(QUICK)" --durations=10

dist: $(VENV)/.test ## Build sdist and wheel; install the wheel for each Python here, and use it away from the sources
	@$(BIN)/python -m tests.house.dist

##@ Long checks: minutes to hours; some write a page

properties: $(VENV)/.test ## Run model checking and proofs only, those that take minutes included
	@$(PYTEST) -q -n 2 --dist worksteal -m "properties and not campaign" --timeout=0

campaign: $(VENV)/.test ## Run the long campaigns: faults, explorations of hours, Hypothesis by night
	@HYPOTHESIS_PROFILE=night $(PYTEST) -q -m campaign --timeout=0

campaign-faults: $(VENV)/.test ## Kill, stop and starve everything for ten minutes, follow what happened, publish what was lost
	@$(BIN)/python -m tests.faults --write

hostile: $(VENV)/.test ## Have one copy attack from inside, and clients from outside, for ten minutes; publish who noticed
	@$(BIN)/python -m tests.hostile --write

abuse: $(VENV)/.test ## Run the tests of load and abuse in full, and write their page
	@$(BIN)/python -m tests.abuse --write

mutants: $(VENV)/.test ## Run every mutant of the core against every check, and publish the matrix
	@$(BIN)/python -m proofs.mutation.matrix --write

shell-mutants: $(VENV)/.test ## Run every mutant of the shell against its killer, and record the result
	@$(BIN)/python -m proofs.mutation.shell --write

mutation: $(VENV)/.test ## Run mutmut over the core (it goes on where it stopped), and publish the score
	@nice $(BIN)/python -m proofs.mutation.mutmut --write

native-check: native-driver native $(VENV)/.test ## Compare the native machine with the core's in 100,000 steps; ask the native stand-in all of the kit
	@$(BIN)/python -m tests.native.machines 100000 $(NATIVE)/machine-driver
	@$(BIN)/maitred conform endpoint --directed --as-is -- /usr/bin/env LD_PRELOAD=$(abspath $(NATIVE))/libmaitred.so \
	  $$($(BIN)/python -c 'import sys; print(sys.executable)') -I reference/maitred/conform/program.py 4049

compat: $(VENV)/.compat ## Run the servers of the compatibility table, and write the page
	@MAITRED_COMPAT_RESULTS=docs/reference/compatibility.json \
	  $(PYTEST) -q tests/compat/test_servers.py tests/compat/test_foreign.py
	@$(BIN)/python -m tests.compat.table
	@$(BIN)/python -m docs.campaigns --record docs/reference/compatibility.md

compat-native: compiler $(VENV)/.test ## Run the servers in other languages behind the native stand-in, and write their page
	@MAITRED_COMPAT_RESULTS=docs/reference/compatibility-native.json \
	  $(PYTEST) -q -rs tests/native/test_servers.py tests/native/test_lifecycle.py
	@$(BIN)/python -m tests.native.table

cpython: $(VENV)/.test ## Run CPython's own tests of sockets behind Distributors, and compare with plain Python
	@$(BIN)/python -m tests.compat.cpython

bench: compile $(VENV)/.test ## Measure beside HAProxy, nginx and the kernel (twenty-five minutes)
	@command -v haproxy >/dev/null || { $(call install,haproxy,the benchmark's peer is missing); }
	@$(PIP) -e '.[bench]'
	@$(BIN)/python -m benchmarks $(BENCH)

bench-ports: $(VENV)/.test ## Time the steps of the Rust port beside plain Python's
	@$(BIN)/python -m benchmarks.ports

##@ The house

lock: $(VENV)/.made ## Write down the versions and hashes that the tests run with, for this Python
	@$(BIN)/python requirements/lock.py

clean: ## Remove the virtual environment and all that the tools left behind
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache reference/maitred/compiled/built*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
