# Two commands do everything on a fresh machine: `make leaderboard` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECORDS ?= records
# Else each of the hundreds of processes that the tests start would compile pebench, and rewrite the tests, anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: leaderboard test test-walks test-slow test-engines app docs lint lock browser engines clean
.DEFAULT_GOAL := help

help:
	@echo "make leaderboard   set up, train and measure the QUICK_2 profile, print the ranked table"
	@echo "make app           browse the results in the browser"
	@echo "make test          set up, check style and types, run all quick tests"
	@echo "make test-walks    run the longer walks of users: whole loops of commands, every page in a browser (minutes)"
	@echo "make test-slow     run what trains or measures for long: submissions from nothing, rates of error (an hour)"
	@echo "make engines       install what the tests of clusters and of GPU kernels need: Ray, Slurm, Triton, fla-core"
	@echo "make test-engines  run the tests of clusters, of several ranks and of GPU kernels (minutes)"
	@echo "make docs          build the documentation into build/site, without a network"

leaderboard: $(VENV)/ready
	$(BIN)/pebench data prepare
	$(BIN)/pebench run --profile QUICK_2 --records $(RECORDS)
	$(BIN)/pebench board --profile QUICK_2 --records $(RECORDS)

app: $(VENV)/ready
	$(BIN)/pebench app $(if $(filter file,$(origin RECORDS)),,--records $(RECORDS))

# A process a core and one more, each with one thread: tests wait a tenth of their time, for browsers and time limits.
# worksteal, because a few tests take long and most no time.
WORKERS = $$($(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
test: lint browser
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Longer walks of users: commands from end to end, every page of the app in a browser, machines of other kinds.
test-walks: $(VENV)/ready browser
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m walks

# Whole submissions, the rates of error of the statistics, memory at long lengths.
test-slow: $(VENV)/ready
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m slow

# Sweeps on a Ray cluster and a one-machine Slurm, models on several ranks, GPU kernels under an interpreter: one by one.
test-engines: engines
	$(BIN)/python -m pytest -m engines -rs

docs: $(VENV)/ready
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open build/site/index.html"

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p pebench

# torch goes first and alone: where a wheel for the processor lies on disk, pip then takes that one.
$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pebench needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
	         "try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 3; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
	  { echo "no environment could be made; on Debian: apt-get install python3-venv"; exit 3; }
	@$(BIN)/pip install --quiet "$$(grep '^torch==' requirements.lock)" && \
	  $(BIN)/pip install --quiet -r requirements.lock && \
	  $(BIN)/pip install --quiet --no-deps --no-build-isolation -e . || \
	  { echo "the packages could not be installed: is there a network? A second call continues."; exit 3; }
	touch $@

# For the tests that walk the app; without it they are skipped, and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing chromium for the browser tests" && \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "no Chromium found: the browser tests will be skipped (Debian: apt-get install chromium)"

# For the tests of other machines, and of a GPU's kernels; without these they are skipped, and say so. Packages of the venv, and of Debian.
ENGINES := ray==2.60.0 triton==3.9.0 fla-core==0.6.0
DAEMONS := slurm-wlm munge
engines: $(VENV)/ready
	@for package in $(ENGINES); do \
	  $(BIN)/pip install --quiet "$$package" || echo "$$package could not be installed: its tests will be skipped"; \
	done
	@command -v slurmctld >/dev/null || test -x /usr/sbin/slurmctld || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing $(DAEMONS)" && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DAEMONS) >/dev/null; } || \
	  echo "no Slurm found: its tests will be skipped (Debian, as root: apt-get install $(DAEMONS))"

# After a change of the dependencies in pyproject.toml: write down what is installed.
lock:
	$(BIN)/pip freeze --all --exclude-editable | grep -v -e '^pip==' | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
