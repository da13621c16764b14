# The commands of this project; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
COMPILE := $(BIN)/python -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate
UPGRADE ?= --upgrade
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup setup-test demo check test install-test soak coverage other-python lint fast unit format pictures bench \
  bench-decisions audit lock clean
.DEFAULT_GOAL := help

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing: system packages, the virtual environment, locked dependencies
	@flock Makefile ./.ci/setup $(PYTHON)

setup-test: setup
	@flock Makefile ./.ci/setup $(PYTHON) test

demo: setup ## the whole loop for real on loopback: ramp, fault, pause, resume, 100 %
	@$(BIN)/rollout demo $(ARGS)

check: setup-test ## in two minutes: format, lint, types, import arrows, and each test that starts no server
	@$(MAKE) --no-print-directory -j 2 lint fast

test: lint unit ## in a quarter of an hour: all that check does, and each test on real servers

lint: setup-test ## format, ruff, mypy strict, import arrows, committed rules equal rendered ones
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/rollout rules check

format: setup-test ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fast: setup-test ## the tests of check alone
	HYPOTHESIS_PROFILE=check $(BIN)/pytest -q -n 2 -m "not servers and not long and not install" $(ARGS)

unit: setup-test ## the tests of test alone: most wait for servers, so there are more workers than processors
	$(BIN)/pytest -q -n 5 $(ARGS)

install-test: ## install it as users do, from the registries: wheel, hosts, image, bare Debian; takes minutes, as root
	@flock Makefile ./.ci/setup $(PYTHON) install
	$(BIN)/pytest -q -m install tests/install $(ARGS)

coverage: export COVERAGE_FILE = $(CURDIR)/.coverage/data
coverage: setup-test ## branch coverage of both packages, in a quarter of an hour
	@rm -rf .coverage && mkdir .coverage
	HYPOTHESIS_PROFILE=check $(BIN)/coverage run -m pytest -q -n 4 -m "not long and not install" $(ARGS)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report

other-python: setup-test ## the tests of check on another Python, where one is installed
	@./.ci/other-python

soak: setup-test ## for hours: all examples, mutants, courses of faults, kills, ticks and requests (SOAK_KILLS=9 ...)
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest -q -n 3 --timeout=7200 \
	  $$(grep -lrE 'from (hypothesis|kit\.examples) import' tests --include='test_*.py') $(ARGS)

pictures: setup-test ## tell the demo's story, bring a rollout into each state, and renew the pictures in docs/pictures
	PYTHONPATH=tests $(BIN)/python -m pages.pictures

bench: setup-test ## measure, side by side in one run; rewrites docs/benchmarks.md
	$(BIN)/python tests/bench/run.py $(ARGS)

bench-decisions: setup-test ## how our policies decide, beside Argo's and Flagger's rules
	PYTHONPATH=tests $(BIN)/python -m bench.decisions $(ARGS)
	PYTHONPATH=tests $(BIN)/python -m bench.decision_promises $(ARGS)
	PYTHONPATH=tests $(BIN)/python -m bench.decision_race
	PYTHONPATH=tests $(BIN)/python -m bench.decision_sources

audit: setup-test ## ask whether a locked dependency has a known weakness
	@./.ci/audit

lock: setup-test ## lock the dependencies again: what runs, what tests need, what builds (UPGRADE= keeps versions)
	echo pip | $(COMPILE) pyproject.toml - $(UPGRADE) -o requirements.lock
	echo pip | $(COMPILE) --group pyproject.toml:dev pyproject.toml - -c requirements.lock $(UPGRADE) -o requirements-dev.lock
	printf 'hatchling\neditables\n' | $(COMPILE) - -c requirements-dev.lock $(UPGRADE) -o .ci/build.lock

clean: ## remove what setup and the tools made
	rm -rf .venv .venv-* tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
	  .coverage dist
	find controller adapter tests -name __pycache__ -type d -prune -exec rm -rf {} +
