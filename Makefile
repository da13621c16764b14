# The commands of this project; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
COMPILE := $(BIN)/python -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate
UPGRADE ?= --upgrade
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup setup-test demo check test soak lint format unit pictures bench bench-decisions audit lock clean
.DEFAULT_GOAL := help

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing: system packages, the virtual environment, locked dependencies
	@flock Makefile ./.ci/setup $(PYTHON)

setup-test: setup
	@flock Makefile ./.ci/setup $(PYTHON) test

demo: setup ## the whole loop for real on loopback: ramp, fault, pause, resume, 100 %
	@$(BIN)/rollout demo $(ARGS)

check: lint ## within a minute: format, lint, types, import arrows, and each test that starts no server
	HYPOTHESIS_PROFILE=check $(BIN)/pytest -q -n 2 -m "not servers and not long" $(ARGS)

test: lint unit ## all that check does, and each test on real servers

lint: setup-test ## format, ruff, mypy strict, import arrows, committed rules equal rendered ones
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/rollout rules check

format: setup-test ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit: setup-test ## pytest: the core, the conformance suites, the stories, the real servers
	$(BIN)/pytest -q -n 2 $(ARGS)

soak: setup-test ## many courses of faults, kills, ticks and requests (SOAK_SEQUENCES=200 SOAK_KILLS=50 ...)
	HYPOTHESIS_PROFILE=soak \
	SOAK_SEQUENCES=$${SOAK_SEQUENCES:-200} SOAK_KILLS=$${SOAK_KILLS:-50} SOAK_TICKS=$${SOAK_TICKS:-20000} \
	SOAK_REQUESTS=$${SOAK_REQUESTS:-50000} SOAK_EXAMPLES=$${SOAK_EXAMPLES:-40} SOAK_MAILS=$${SOAK_MAILS:-1000} \
	SOAK_CONFIGS=$${SOAK_CONFIGS:-20000} SOAK_COMMANDS=$${SOAK_COMMANDS:-5000} \
	SOAK_CONTENTS=$${SOAK_CONTENTS:-5000} SOAK_ANSWERS=$${SOAK_ANSWERS:-10000} SOAK_SEED=$${SOAK_SEED:-17} \
	SOAK_HISTORIES=$${SOAK_HISTORIES:-10000} \
	  $(BIN)/pytest -q -n 3 --timeout=3600 tests/faults/test_sequences.py tests/faults/test_daemon.py \
	  tests/faults/test_flat.py tests/server/test_malformed.py tests/fuzz/test_fuzz.py tests/decision \
	  tests/gate/test_bucket.py tests/rules/test_mutations.py tests/rules/test_evidence_counts.py \
	  tests/rules/test_histories.py tests/adapter/test_fallback.py tests/adapter/test_crashes.py $(ARGS)

pictures: setup-test ## tell the demo's story, bring a rollout into each state, and renew the pictures in docs/pictures
	PYTHONPATH=tests $(BIN)/python -m pages.pictures

bench: setup-test ## measure, side by side in one run; rewrites docs/benchmarks.md
	$(BIN)/python tests/bench/run.py $(ARGS)

bench-decisions: setup-test ## how our policies decide, beside Argo's and Flagger's rules
	PYTHONPATH=tests $(BIN)/python -m bench.decisions $(ARGS)

audit: setup-test ## ask whether a locked dependency has a known weakness
	@./.ci/audit

lock: setup-test ## lock the dependencies again: what runs, what tests need, what builds (UPGRADE= keeps versions)
	echo pip | $(COMPILE) pyproject.toml - $(UPGRADE) -o requirements.lock
	echo pip | $(COMPILE) --group pyproject.toml:dev pyproject.toml - -c requirements.lock $(UPGRADE) -o requirements-dev.lock
	printf 'hatchling\neditables\n' | $(COMPILE) - -c requirements-dev.lock $(UPGRADE) -o .ci/build.lock

clean: ## remove what setup and the tools made
	rm -rf .venv tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find controller adapter tests -name __pycache__ -type d -prune -exec rm -rf {} +
