# make demo | make test | make test-engine | make check — each sets up what it needs in .venv on first use.
PYTHON ?= python3
ENGINE ?= sim
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-engine check format bench lock charts clean
help:
	@echo 'make demo               a small fleet, the router before it, and what prefix routing gains'
	@echo 'make demo ENGINE=vllm   the same with two real vLLM workers on this CPU (2.7 GB, 2 min on first use)'
	@echo 'make test               all tests, but those against real vLLM'
	@echo 'make test-engine        end-to-end tests against real vLLM on this CPU'
	@echo 'make check              format, lint, types, layers, dependencies'
	@echo 'make bench              CPU per request and per chunk beside other routers'
	@echo 'make lock               the lock files of the image anew; ARGS=--upgrade: newest versions'
	@echo 'make charts             what the Helm chart has copies of: settings, rules, dashboards'

$(VENV)/run: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python -m pip install -q --disable-pip-version-check --group dev
	@touch $@

ifeq ($(ENGINE),vllm)
demo: $(VENV)/run
	deploy/vllm-cpu/setup.sh
	$(PYTHON) deploy/vllm-cpu/workers.py run --ports 8001,8002 -- \
	  $(BIN)/prefix-router demo --worker http://127.0.0.1:8001 --worker http://127.0.0.1:8002 $(ARGS)
else
demo: $(VENV)/run
	$(BIN)/prefix-router demo $(ARGS)
endif

test: $(VENV)/dev
	@$(BIN)/python -c 'from tests.fakes.redis_binaries import binary; binary("redis")' 2>/dev/null || echo 'no Redis 7 to be had here: its tests are skipped'
	$(BIN)/python -m pytest -q -n 3 --dist loadscope -m 'not engine' $(ARGS)

test-engine: $(VENV)/dev
	TEST_ENGINE=require $(BIN)/python -m pytest -q -m engine tests/e2e $(ARGS)

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry .
	$(BIN)/vulture

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/run
	$(BIN)/python -m bench.dataplane $(ARGS)

lock: $(VENV)/run
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	UV=$(BIN)/uv deploy/lock.sh $(ARGS)

charts: $(VENV)/dev
	$(BIN)/python -m deploy.grafana.build
	$(BIN)/python -m deploy.helm.update

clean:
	rm -rf $(VENV) .engine .cache build dist
