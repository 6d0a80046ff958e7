# Two commands: `make demo` shows what the program does, `make test` checks all of it, in a real Galaxy too.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Without a GPU, PyTorch's CPU build: the default one brings gigabytes of CUDA along.
TORCH ?= torch==2.13.0

.PHONY: demo test check unit-test versions-test galaxy-test bench-test fuzz docs

demo: $(VENV)/installed
	$(BIN)/bioimage-inference demo -o demo-output

test: check unit-test versions-test bench-test galaxy-test

unit-test: $(VENV)/test-installed
	$(BIN)/python -m pytest

# The lowest versions of the dependencies, and newer Pythons as far as they are installed.
versions-test: $(VENV)/test-installed
	$(BIN)/python -m tests.versions

# Only that the benchmarks run; peers that are not installed are left out.
bench-test: $(VENV)/test-installed
	$(BIN)/python benchmarks/compare.py start --small --runs 1

# Ten thousand mutated inputs; the unit tests try some hundreds of them.
fuzz: $(VENV)/test-installed
	$(BIN)/python -m tests.fuzz --inputs 10000

# The documentation, in site/.
docs: $(VENV)/test-installed
	$(BIN)/mkdocs build --strict

# Installs Galaxy and planemo into .galaxy, starts it on loopback, runs all tool and workflow tests, stops it.
galaxy-test: $(VENV)/test-installed
	$(BIN)/python -m tests.galaxy run

check: $(VENV)/test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[test,cluster,crate,docs,openvino]"
	touch $@

# Versions that are known to work together, for `pip install -c constraints.txt` and `pip-audit -r constraints.txt`; torch
# is left out, because machines differ in it.
constraints.txt: pyproject.toml $(VENV)/test-installed
	echo "torch; sys_platform == 'none'" > $(VENV)/overrides.txt
	$(BIN)/python -m uv pip compile --quiet --no-header --no-annotate --python-version 3.11 --overrides $(VENV)/overrides.txt \
		--extra cluster --extra crate --extra openvino --output-file $@ pyproject.toml
