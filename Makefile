# make run      the daemon in the foreground, in practice mode unless ./deskhand.yaml says otherwise
# make test     everything that is checked, quick parts first
# make kill     kill -9 at every step, 25 times each, and 200 times at random (ten minutes)
# make reloads  200 reloads under load, half of them broken
# make center   the Command Center: kill -9 at every point ten times, an outage under load, three real minutes
# make fuzz     200,000 malformed inputs through every parser, and through the running daemon (half an hour)
# make bench    event-to-key latency beside a bare forwarder
# make lock     resolve the dependencies anew

# The first Python that is new enough and can make environments; looked for only when there is none yet.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# The editable install builds with the locked hatchling: nothing outside the lock is fetched or run.
SELF := $(PIP) install --no-deps --no-build-isolation --editable .
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade

.PHONY: run test kill reloads center fuzz bench lock lint
.DELETE_ON_ERROR:

run: .venv/.installed
	@exec $(BIN)/deskhand run $(ARGS)

test: .venv/.installed-dev lint
	@.ci/programs
	@.ci/tests $(ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo

kill: .venv/.installed-dev
	@.ci/programs
	KILLS_PER_STEP=25 KILLS_AT_RANDOM=200 $(BIN)/pytest -s tests/acceptance/test_kill.py

reloads: .venv/.installed-dev
	@.ci/programs
	RELOADS=200 $(BIN)/pytest -s tests/acceptance/test_reloads.py

center: .venv/.installed-dev
	@.ci/programs
	CENTER_KILLS=10 CENTER_MINUTES=3 $(BIN)/pytest -s tests/acceptance/test_center_kill.py tests/acceptance/test_center_minutes.py
	$(BIN)/python -m tests.bench --center

fuzz: .venv/.installed-dev
	@.ci/programs
	FUZZ_N=200000 $(BIN)/pytest --timeout 3600 tests/fuzz

bench: .venv/.installed-dev
	@.ci/programs
	$(BIN)/python -m tests.bench $(ARGS)

# Needs uv on the path; the lock files hold versions and hashes, never an address.
lock:
	$(COMPILE) --extra build --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra build --extra test --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@! grep -n '://' requirements.lock requirements-dev.lock

.venv/.made:
	@test -n "$(PYTHON)" || { echo "needs Python 3.11 or newer with venv; on Debian: apt install python3.11 python3.11-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.locked: requirements.lock | .venv/.made
	$(PIP) install --require-hashes -r requirements.lock
	@touch $@

.venv/.installed: pyproject.toml .venv/.locked
	$(SELF)
	@touch $@

# The larger lock holds the smaller one's very versions.
.venv/.locked-dev: requirements-dev.lock .venv/.locked
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

.venv/.installed-dev: .venv/.installed .venv/.locked-dev
	@touch $@
