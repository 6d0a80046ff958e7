# Two commands: `make demo` shows what the program does, `make test` checks all of it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Without a GPU, PyTorch's CPU build: the default one brings gigabytes of CUDA along.
TORCH ?= torch==2.13.0

.PHONY: demo test check install

demo: $(VENV)/installed
	$(BIN)/bioimage-inference demo -o demo-output

test: $(VENV)/test-installed check
	$(BIN)/python -m pytest

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
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@
