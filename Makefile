# The chores of aoray. `make demo` and `make test` need only Python 3.11+, make, and (for `test`) node, PostgreSQL and Redis.
PYTHON ?= python3
BIN := .venv/bin
NODE_MODULES := tests/node/node_modules/.installed

.PHONY: install demo test test-computers test-others test-rooms check lint format lock soak cron-soak chaos fuzz goals mutants broken clean

install: .venv/.installed

# The marker is newer than the lock file exactly when the environment was made from it.
.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 .venv/lib aoray || true
	touch $@

# The field's own npm packages, used in tests as black boxes: clients, and modules to run. (Not `npm ci`: it refuses a
# lock file that leaves out the optional packages of other platforms, as npm itself writes it here.) Only sqlite3, which
# arlocal keeps its chain in, runs its install script: it fetches a built one, or builds it (make, C++).
$(NODE_MODULES): tests/node/package-lock.json
	cd tests/node && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
	cd tests/node && npm rebuild sqlite3 --ignore-scripts=false --loglevel=error
	touch $@

# What Ray's `default` extra adds, in a folder of its own: only with it does Ray export metrics, as one test sees.
RAY_DEFAULT := tests/e2e/.ray-default/.installed
$(RAY_DEFAULT): tests/e2e/ray-default.lock | install
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target $(@D) --requirement $<
	touch $@

demo: install
	$(BIN)/aoray demo

check: install lint
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest tests/unit -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Three side by side: what computes in one process, whole computers (which mostly wait), and the rest. tests/cluster
# has Ray in pytest's own process, so it goes first: Ray must be there before any WASM engine (signal handlers).
ROOMS := tests/fuzz tests/simulation tests/unit
COMPUTERS := tests/e2e
OTHERS := tests/cluster $(filter-out tests/cluster $(ROOMS) $(COMPUTERS),$(patsubst %/,%,$(wildcard tests/*/)))

test: install $(NODE_MODULES) lint
	$(BIN)/python -m mypy
	$(MAKE) --jobs=3 --keep-going test-computers test-others test-rooms

test-computers: install $(NODE_MODULES) $(RAY_DEFAULT)
	$(BIN)/python -m pytest --durations=20 $(COMPUTERS)

test-others: install $(NODE_MODULES)
	$(BIN)/python -m pytest --durations=20 $(OTHERS)

test-rooms: install $(NODE_MODULES)
	$(BIN)/python -m pytest --durations=20 $(ROOMS)

# Simulated computers, one seed after another, until it is stopped or one goes wrong.
soak: install
	$(BIN)/python tests/simulation/soak.py

# Twenty processes tick each second for a minute, across a kill; says how late the ticks were.
cron-soak: install
	AORAY_CRON_SECONDS=60 $(BIN)/python -m pytest -q -s tests/e2e/test_ticking.py

# Five minutes of payments while everything is killed, again and again, and 60 power cuts (`make test` has one
# minute of it, and 12).
chaos: install
	CHAOS_SECONDS=300 POWER_CUTS=60 $(BIN)/python -m pytest -q tests/survival

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
	echo 'ray[default]' | uv pip compile - --constraint requirements.lock --universal --generate-hashes \
	  $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  --no-emit-index-url --no-header -q -o tests/e2e/ray-default.lock
	echo 'mutmut>=3.8,<4' | uv pip compile - --constraint requirements.lock --universal --generate-hashes \
	  $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  --no-emit-index-url --no-header -q -o tests/mutation/mutmut.lock

clean:
	rm -rf .venv tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache
