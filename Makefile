# Every target sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# a Python from 3.11 to 3.14, found when not named:  make test PYTHON=/path/to/python3.12
PYTHON ?=
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
HOURS ?= 1
SOAK_ARGS ?=
BIN := .venv/bin
CHECKS := "ruff check ." "ruff format --check ." mypy pyright lint-imports \
	$(if $(wildcard tests/test_docs.py),"pytest -q tests/test_docs.py")
# whoever has the development packages has the demo's too
READY := $(firstword $(wildcard .venv/.ready-dev) .venv/.ready-embedded)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## a shop, Kafka, ClickHouse and the page in one process            DEMO_ARGS="--help"
	@$(BIN)/streamgauge demo $(DEMO_ARGS)

.PHONY: test
test: .venv/.ready-dev ## all tests, on a real Kafka where Java and Maven are           TEST_ARGS="-k zombie"
	@$(BIN)/python -m tests.support.kafka
	@$(BIN)/pytest $(TEST_ARGS)

.PHONY: check
check: .venv/.ready-dev ## lint, format, types, layers, docs
	@failed=; for tool in $(CHECKS); do \
		echo "── $$tool"; $(BIN)/$$tool || failed="$$failed $$tool;"; \
	done; test -z "$$failed" || { echo "── failed:$$failed"; exit 1; }

.PHONY: bench
bench: .venv/.ready-dev ## measure the budgets; nothing is timed in the tests          BENCH_ARGS="--help"
	@$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

.PHONY: soak
soak: .venv/.ready-dev ## all faults in rotation for HOURS, every total recounted        SOAK_ARGS="--help"
	@$(BIN)/python -m tests.support.kafka
	@$(BIN)/python -m tests.soak --hours $(HOURS) $(SOAK_ARGS)

.PHONY: lock
lock: .venv/.ready-dev ## write requirements/*.lock anew from pyproject.toml          LOCK_ARGS="--upgrade"
	$(call compile,pyproject.toml --extra dev,dev)
	$(call compile,pyproject.toml --extra embedded -c requirements/dev.lock,embedded)
	$(call compile,requirements/build.in -c requirements/dev.lock,build)

.PHONY: clean
clean: ## remove .venv, Kafka's jars and all caches
	rm -rf .venv .kafka dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

compile = $(BIN)/uv pip compile $(1) --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --quiet $(LOCK_ARGS) --output-file requirements/$(2).lock

.venv/.ready-%: requirements/%.lock requirements/build.lock requirements/install pyproject.toml
	@PYTHON="$(PYTHON)" requirements/install $*
