# Two commands: `make demo` shows what the program does, `make test` checks all of it, in a real Galaxy too.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Arguments of `pip install` that name a build of PyTorch; none is the CPU build. $(VENV) keeps the last ones, and others
# install anew: make demo TORCH=torch==2.13.0
LAST_TORCH := $(shell cat $(VENV)/torch-request 2>/dev/null)
TORCH ?= $(LAST_TORCH)
export TORCH
ifneq ($(TORCH),$(LAST_TORCH))
.PHONY: $(VENV)/installed
endif
# The tests start Python thousands of times; without compiled modules each start would take seconds longer.
unexport PYTHONDONTWRITEBYTECODE
PARTS := check unit-test versions-test bench-test galaxy-test

.PHONY: demo test $(PARTS) fuzz docs release-check

demo: $(VENV)/installed
	$(BIN)/bioimage-inference demo -o demo-output

# Runs all parts, also when one fails, and reports each. make's own exit code for a failure is always 2;
# $(VENV)/test-code has the exit code of the first failure.
test: $(VENV)/test-installed
	$(BIN)/python scripts/run_tests.py --code-file $(VENV)/test-code

# One part alone; scripts/run_tests.py has their commands.
$(PARTS): $(VENV)/test-installed
	$(BIN)/python scripts/run_tests.py $@

# Ten thousand mutated inputs; the unit tests try some hundreds of them.
fuzz: $(VENV)/test-installed
	$(BIN)/python -m tests.fuzz --inputs 10000

# The documentation, in site/.
docs: $(VENV)/test-installed
	$(BIN)/zensical build --strict

# Builds wheel and source archive into dist/, installs and runs each, and looks at versions, wheels and vulnerabilities.
release-check: $(VENV)/test-installed
	$(BIN)/python scripts/check_release.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python scripts/install_torch.py --request "$$TORCH"
	@echo "Installing bioimage_inference and the other libraries that it needs (about 150 MB to download)"
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m compileall -q bioimage_inference  # pip compiles all but editable packages
	@printf '%s\n' "$$TORCH" > $(VENV)/torch-request
	touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[test,cluster,crate,docs,onnx,openvino]"
	touch $@

# Versions that are known to work together, for `pip install -c constraints.txt` and `pip-audit -r constraints.txt`; torch
# is left out, because machines differ in it.
constraints.txt: pyproject.toml $(VENV)/test-installed
	echo "torch; sys_platform == 'none'" > $(VENV)/overrides.txt
	$(BIN)/python -m uv pip compile --quiet --no-header --no-annotate --python-version 3.11 --overrides $(VENV)/overrides.txt \
		--extra cluster --extra crate --extra microscopes --extra onnx --extra openvino --extra remote --output-file $@ pyproject.toml
