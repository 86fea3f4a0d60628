# Every target sets up what it needs. PYTHON=python3.12 chooses the interpreter, VENV=… the environment.
VENV ?= .venv
export DAGSTER_HOME ?= $(CURDIR)/dagster_home
export SYNTHVLM_STORE ?= $(CURDIR)/store
export SYNTHVLM_RECIPE ?= miniature
RUN := $(VENV)/bin

.PHONY: setup setup-tests home demo ui test quick test-outside lint format clean
setup: ; @bash scripts/setup.sh $(VENV)

# with what tests, lint and types need
setup-tests: ; @bash scripts/setup.sh $(VENV) tests

home: setup ; @bash scripts/home.sh $(RUN)

# VARIANTS="synthvlm-mini random-mini" trains those and compares them
demo: home ; @$(RUN)/python -m synthvlm_assets.demo $(VARIANTS)

# UI="--port 3001" gives it options: python -m synthvlm_assets.ui --help
ui: home ; @$(RUN)/python -m synthvlm_assets.ui $(UI)

# two processes, one thread each: most of the time goes to deployments that wait for their own processes; these come
# first, where xdist would leave files of few tests for the end
test: lint ; @OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not outside"

# the foundations, captions and selection, without models: two minutes
QUICK := captions parts pictures recipe selection store
QUICK += $(patsubst %,test_%.py,contract engine floors golden graph hashing stages)
quick: setup-tests ; @OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist loadfile -m "not model" $(addprefix tests/synthvlm_core/,$(QUICK))

# what needs a server, a cluster or an environment of its own
test-outside: setup-tests ; @OMP_NUM_THREADS=1 $(RUN)/pytest -m outside tests --no-header -q || [ $$? = 5 ]

lint: setup-tests
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy

format: setup-tests
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

clean: ; rm -rf store dagster_home/storage dagster_home/history dagster_home/schedules dagster_home/.logs_queue dagster_home/.telemetry dagster_home/.pools
