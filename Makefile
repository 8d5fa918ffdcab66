# Two commands are enough: `make demo` and `make test`. The others are their parts.

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel

.PHONY: demo test test-checkout test-optimized test-wheel lint types docs bench tables system clean

demo: $(VENV)/.demo
	$(BIN)/python examples/chat/manage.py serve --port $(PORT)

test: test-checkout test-optimized test-wheel

test-checkout: system $(VENV)/.dev
	$(BIN)/python -m pytest tests docs README.rst

# Nothing may depend on assert statements in the package: python -O removes them.
test-optimized: $(VENV)/.dev
	$(BIN)/python -O -m pytest -q -W ignore::pytest.PytestConfigWarning tests/unit tests/test_conformance_memory.py

# What is uploaded is tested, not only what lies in the checkout.
test-wheel: $(VENV)/.dev
	rm -rf dist $(WHEEL_VENV)
	$(BIN)/python -m build --quiet --wheel --outdir dist .
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --upgrade "pip>=25.1"
	$(WHEEL_VENV)/bin/pip install --quiet dist/*.whl
	cd $(WHEEL_VENV) && bin/python ../tests/wheel/smoke.py
	$(WHEEL_VENV)/bin/pip install --quiet "$$(ls dist/*.whl)[test]" pytest-timeout
	cd tests/wheel && ../../$(WHEEL_VENV)/bin/pytest -q

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

tables: $(VENV)/.dev
	$(BIN)/python -m channel_layers.conformance.table --output docs/tables/conformance.rst

system:
	PYTHON=$(PYTHON) scripts/system-packages

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable ".[demo]"
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable ".[test,docs,bench,demo]" --group dev
	touch $@

clean:
	rm -rf $(VENV) $(WHEEL_VENV) build dist docs/_build *.egg-info .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis
