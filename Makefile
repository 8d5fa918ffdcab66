# Two commands are enough: `make demo` and `make test`. The others are their parts.

PYTHON ?= python3
PORT ?= 8000
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel
PIP := -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test test-checkout test-uvloop test-optimized test-wheel lint types docs bench compare soak tables system clean

help:
	@echo "make demo    a chat in the browser, http://127.0.0.1:$(PORT)/ (PORT=8001 for another port)"
	@echo "make test    all tests; about ten minutes"
	@echo "make lint types docs bench compare soak tables clean    see README.rst"

demo: $(VENV)/.demo
	$(BIN)/python examples/chat/manage.py serve --port $(PORT)

test: test-checkout test-uvloop test-optimized test-wheel

test-checkout: system $(VENV)/.dev
	$(BIN)/python -m pytest -n 4 --dist loadfile tests
	$(BIN)/python -m pytest -n 2 --dist loadfile docs README.rst

# What Uvicorn runs applications on, unless it is told otherwise.
test-uvloop: system $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -p tests.on_uvloop tests/test_conformance_memory.py \
		tests/redis/test_conformance_redis.py::TestRedis tests/redis/test_conformance_pubsub.py::TestPubSub \
		tests/ipc/test_conformance_ipc.py::TestIPC tests/ipc/test_waking.py tests/redis/test_pubsub_vigil.py

# Nothing may depend on assert statements in the package: python -O removes them.
test-optimized: $(VENV)/.dev
	$(BIN)/python -O -m pytest -q -n 4 --dist loadfile -W ignore::pytest.PytestConfigWarning tests/unit tests/test_conformance_memory.py

# What is uploaded is tested, not only what lies in the checkout.
test-wheel: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --quiet --wheel --outdir dist .
	$(BIN)/python -m venv --clear $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python $(PIP) dist/*.whl
	cd tests/wheel && ../../$(WHEEL_VENV)/bin/python smoke.py
	$(WHEEL_VENV)/bin/python $(PIP) "$$(ls dist/*.whl)[test]" pytest-timeout pytest-xdist
	cd tests/wheel && ../../$(WHEEL_VENV)/bin/pytest -c pytest.ini --rootdir . -q -n 4 --dist loadfile . ../unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -W -n --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

compare: system $(VENV)/.dev
	$(BIN)/python -m compare $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python -m soak --seconds $(SECONDS) $(ARGS)

tables: $(VENV)/.dev
	$(BIN)/python -m benchmarks.with_redis $(BIN)/python -m channel_layers.conformance.table --redis {} \
		--output docs/tables/conformance.rst

system:
	@PYTHON=$(PYTHON) scripts/system-packages

# The stamp is made last, so that an environment that was not finished is made again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip' || { echo "Python has no ensurepip; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV), once; it takes about half a minute."
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python $(PIP) --upgrade "pip>=25.1"
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	$(BIN)/python $(PIP) --editable ".[demo]"
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(BIN)/python $(PIP) --editable ".[test,docs,bench,compare,demo,redis,ipc,encryption]" --group dev
	touch $@

clean:
	rm -rf $(VENV) $(WHEEL_VENV) build dist docs/_build *.egg-info .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis
