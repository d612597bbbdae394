# The chores of aoray. `make demo` and `make test` need only Python 3.11+, make, and (for `test`) node.
PYTHON ?= python3
BIN := .venv/bin
NODE_MODULES := tests/node/node_modules/.installed

.PHONY: install demo test check lint format lock soak clean

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
	cd tests/node && npm rebuild sqlite3 --ignore-scripts=false --loglevel=error \
	  || echo "arlocal can't run here without node's sqlite3: tests/e2e/test_flush.py will be skipped"
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

test: install $(NODE_MODULES) lint
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest

# Simulated computers, one seed after another, until it is stopped or one goes wrong.
soak: install
	$(BIN)/python tests/simulation/soak.py

lock:
	uv pip compile pyproject.toml --group dev --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header -q -o requirements.lock

clean:
	rm -rf .venv tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache
