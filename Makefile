# Needs GNU make and Python 3.11 or newer; `make help` lists the targets.

PYTHON ?= python3
TORCH ?= torch==2.13.0
REFERENCES ?= $(TORCH) transformers==5.23.0 ctranslate2==4.8.5

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq

# An installation is marked by a file that names its Python, so that another PYTHON sets up anew.
VERSION := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
DEMO := $(VENV)/.installed-$(VERSION)
DEV := $(DEMO)-dev
# The tests' programs compile for seconds and run for moments, so LLVM leaves them as they are.
# What it makes of them otherwise is seen by `make test-reference`, and by a plain pytest.
QUICK := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true

BROKEN := $(if $(wildcard $(PY)),,FORCE)

.PHONY: help demo test test-reference test-compile compile-tests lint format notebooks clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "PYTHON=... chooses the interpreter that $(VENV) is made with, now $(PYTHON)."

demo: $(DEMO) ## train a small model, score it and translate with it, in minutes
	$(PY) experiments/demo.py

test: lint ## run the linter and the tests
	XLA_FLAGS="$(QUICK) $$XLA_FLAGS" $(PY) -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

test-reference: $(DEV) ## compare with PyTorch, Hugging Face's transformers and CTranslate2
	$(PY) tests/reference/install.py $(REFERENCES)
	$(PY) -m pytest -q -m reference

# In an environment of its own: elsewhere JAX would look for the hardware of these compilers.
test-compile: ## compile for TPUs and GPUs that are not there, in .venv-compile
	$(MAKE) VENV=.venv-compile compile-tests

compile-tests: $(DEV)
	$(PIP) install --editable '.[dev,compile-tpu,compile-cuda13]'
	$(PY) -m pytest -q -m compile

lint: $(DEV) ## check style and formatting
	$(PY) -m ruff check
	$(PY) -m ruff format --check

format: $(DEV) ## repair style and formatting
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

notebooks: $(DEV) ## make every notebooks/NAME.ipynb anew of NAME.py
	$(PY) notebooks/build.py

clean: ## remove the environment and all caches, but no runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEMO): setup.cfg pyproject.toml $(BROKEN)
	@$(call install,.)
	@touch $@

$(DEV): setup.cfg pyproject.toml $(BROKEN)
	@$(call install,.[dev])
	@touch $(DEMO) $@

# Installs $(1), the project with or without an extra, into .venv; makes that first unless there is
# one of the same Python.
define install
	set -e; \
	if [ -z '$(VERSION)' ]; then \
	    echo "error: $(PYTHON) does not run; name a Python of 3.11 or newer, for example" \
	        "PYTHON=/usr/bin/python3 or, of pyenv, PYTHON=\$$(pyenv root)/versions/3.12.1/bin/python." >&2; \
	    exit 2; \
	elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    echo "error: $(PYTHON) is Python $(VERSION), and 3.11 or newer is needed; name one, for" \
	        "example PYTHON=python3.12." >&2; \
	    exit 2; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "error: $(PYTHON) cannot make virtual environments; install its venv module (Debian" \
	        "and Ubuntu: apt install python3-venv)." >&2; \
	    exit 2; \
	fi; \
	if ! $(PY) -c 'import pip, platform; assert platform.python_version() == "$(VERSION)"' \
	    2>/dev/null; then \
	    rm -rf $(VENV); \
	    $(PYTHON) -m venv $(VENV); \
	fi; \
	echo "Installing the dependencies into $(VENV) (Python $(VERSION)); it takes about a minute."; \
	$(PIP) install --editable '$(1)'
endef
