# The chores of aoray. Everything they need but Python 3.11+ and make comes by itself.
PYTHON ?= python3
BIN := .venv/bin
NODE_MODULES := tests/js_clients/node_modules/.installed
unexport PYTHONDONTWRITEBYTECODE  # the processes of a computer would compile all their sources, each time

.PHONY: help install demo test node_modules check check-types lint format lock \
  soak cron-soak chaos fuzz goals mutants broken docs settings wheel clean

help:
	@echo "make demo      a computer with 8 processes and 400 messages, started and stopped"
	@echo "make check     lint, types, unit tests"
	@echo "make test      everything, and how much of aoray the unit tests pass through"
	@echo "make settings  docs/settings.md, after a change of aoray/settings.py"
	@echo "make wheel     what pip, pipx and uv install, in dist/"
	@echo "make docs      the docs site, in site/; a warning is an error"
	@echo "make format    ruff's fixes and format"
	@echo "make fuzz | chaos | soak | cron-soak    the long forms of what 'make test' has in short"
	@echo "make goals     every row of the table of goals (benchmarks/README.md)"
	@echo "make mutants | broken    what the tests do not notice (docs/mutation.md)"
	@echo "make lock      the lock files, after a change of dependencies"
	@echo "make clean     removes what these made"

install: .venv/.installed

# The marker is newer than the lock file exactly when the environment was made from it.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "aoray needs Python 3.11 or later with its venv module (Debian: apt-get install python3-venv);" \
	  "$(PYTHON) is $$($(PYTHON) --version 2>&1)."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 .venv/lib aoray || true
	touch $@

# The field's own npm packages, used in tests as black boxes: clients, and modules to run.
node_modules: $(NODE_MODULES)

$(NODE_MODULES): tests/js_clients/package-lock.json tests/js_clients/install.py | install
	$(BIN)/python tests/js_clients/install.py
	touch $@

# What Ray's `default` extra adds, in a folder of its own: only with it does Ray export metrics, as one test sees.
RAY_DEFAULT := tests/e2e/.ray-default/.installed
$(RAY_DEFAULT): tests/e2e/ray-default.lock | install
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target $(@D) --requirement $<
	touch $@

# The page of all settings, from their fields.
settings: install
	$(BIN)/python -c "from aoray.cli.config import page; print(page(), end='')" > docs/settings.md

# What builds the docs site, in a folder of its own: nothing else needs it.
DOCS_TOOLS := .docs/tools/.installed
$(DOCS_TOOLS): docs/site.lock | install
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target $(@D) --requirement $<
	touch $@

docs: $(DOCS_TOOLS)
	PYTHONPATH=.docs/tools $(BIN)/python docs/site.py

# What pip, pipx and uv install: `pipx install dist/aoray-*.whl`.
wheel: install
	$(BIN)/python -m build --wheel --no-isolation
	rm -rf build

demo: install
	$(BIN)/aoray demo

# Unit tests side by side: actors, modules and VMs take half of the time.
VM_UNITS := tests/unit/actors tests/unit/modules tests/unit/vm
OTHER_UNITS := $(filter-out $(VM_UNITS) tests/unit/__pycache__,$(patsubst %/,%,$(wildcard tests/unit/*/))) $(wildcard tests/unit/test_*.py)
QUICK := -q -m "not node and not long"

check: install lint
	$(MAKE) --jobs=2 --keep-going check-vm-units check-other-units check-types

check-types: install
	$(BIN)/python -m mypy

check-vm-units: install
	$(BIN)/python -m pytest $(QUICK) $(VM_UNITS)

check-other-units: install
	$(BIN)/python -m pytest $(QUICK) $(OTHER_UNITS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Three of these at a time, the longest first; npm's packages come while the units that need none run. tests/cluster
# has Ray in pytest's own process, so it goes first: Ray must be there before any WASM engine (signal handlers).
TESTS := test-computers-a-l test-computers-m-z test-clusters test-vm-units test-fuzz test-other-units
PYTEST := $(BIN)/python -m pytest --durations=20
COUNTED := $(BIN)/python -m coverage run -m pytest --durations=20

test: install lint
	$(BIN)/python -m coverage erase
	$(MAKE) --jobs=3 --keep-going $(TESTS) check-types
	$(BIN)/python -m coverage combine --quiet
	@echo "Branches and lines of aoray that the unit tests pass through:"
	@$(BIN)/python -m coverage report | tail -n 1

.PHONY: $(TESTS) check-vm-units check-other-units
test-computers-a-l: install $(NODE_MODULES) $(DOCS_TOOLS)
	$(PYTEST) $(sort $(wildcard tests/e2e/test_[a-l]*.py))

test-computers-m-z: install $(NODE_MODULES) $(RAY_DEFAULT)
	$(PYTEST) $(sort $(wildcard tests/e2e/test_[m-z]*.py))

test-clusters: install $(NODE_MODULES)
	$(PYTEST) tests/cluster tests/chaos tests/js_clients tests/multinode

test-fuzz: install $(NODE_MODULES)
	$(PYTEST) tests/fuzz tests/simulation

test-vm-units: install $(NODE_MODULES)
	$(COUNTED) $(VM_UNITS)

test-other-units: install
	$(COUNTED) $(OTHER_UNITS)

# Simulated computers, one seed after another, until it is stopped or one goes wrong.
soak: install
	PYTHONPATH=tests/support $(BIN)/python tests/simulation/soak.py

# Twenty processes tick each second for a minute, across a kill; says how late the ticks were.
cron-soak: install
	AORAY_CRON_SECONDS=60 $(BIN)/python -m pytest -q -s tests/e2e/test_crons.py

# Five minutes of payments while everything is killed, again and again, and 60 power cuts (`make test` has one
# minute of it, and 12).
chaos: install
	CHAOS_SECONDS=300 POWER_CUTS=60 $(BIN)/python -m pytest -q tests/chaos

# The fuzzers, for so many seconds altogether (`make test` has a minute of them).
FUZZ_SECONDS ?= 300
fuzz: install $(NODE_MODULES)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/fuzz

# Every row of the table of goals, its JSON and the table in benchmarks/results: about a quarter of an hour, on a quiet
# machine. GOALS=--profile runs each a second time under py-spy.
goals: install $(NODE_MODULES)
	$(BIN)/python -m benchmarks.goals $(GOALS)

# Small faults in the modules that decide, one at a time: which ones does no test notice? (docs/mutation.md)
MUTMUT := tests/mutation/.mutmut/.installed
$(MUTMUT): tests/mutation/mutmut.lock | install
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target $(@D) --requirement $<
	touch $@

mutants: $(MUTMUT)
	$(BIN)/python tests/mutation/mutants.py $(MUTANTS)

# Each guarantee is broken on purpose, and its tests must fail (docs/guarantees.md).
broken: install $(NODE_MODULES)
	$(BIN)/python tests/mutation/broken.py $(BROKEN)

lock:
	uv pip compile pyproject.toml --group dev --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header -q -o requirements.lock
	uv pip compile pyproject.toml --constraint requirements.lock --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header -q -o runtime.lock
	echo 'ray[default]' | uv pip compile - --constraint requirements.lock --universal --generate-hashes \
	  $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  --no-emit-index-url --no-header -q -o tests/e2e/ray-default.lock
	echo 'mutmut>=3.8,<4' | uv pip compile - --constraint requirements.lock --universal --generate-hashes \
	  $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  --no-emit-index-url --no-header -q -o tests/mutation/mutmut.lock
	printf '%s\n' 'zensical>=0.0.70,<0.1' 'mkdocstrings[python]>=1,<2' | uv pip compile - --constraint requirements.lock --universal \
	  --generate-hashes $$(sed -n '/;/d; s/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  --no-emit-index-url --no-header -q -o docs/site.lock

clean:
	rm -rf .venv .coverage* tests/.compiled dist build .docs .cache site tests/js_clients/node_modules .mypy_cache .ruff_cache .pytest_cache
