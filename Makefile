# Two commands, each complete on a fresh machine with Python 3.12 or 3.13 and pip: `make demo` and `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that starts and is new enough; name another with PYTHON=.
PYTHON ?= $(shell for python in python3.12 python3.13 python3; do \
	$$python -c 'import sys, venv; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)

.PHONY: demo test test-slow install install-test check docs bench

demo: install
	$(BIN)/affstore demo

# The suite starts hundreds of processes: what they import is compiled once, whatever the shell says of bytecode.
test: export PYTHONDONTWRITEBYTECODE :=
test: install-test check
	$(BIN)/python -m pytest -n auto --dist loadfile --max-worker-restart 0

# What takes many minutes: killed runs, failing servers, damaged stores. Some two hours on two cores.
test-slow: install-test
	$(BIN)/python -m pytest -m slow

install: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[heads,cluster]'

install-test: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[test]'

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation site, into site/.
docs: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[docs]'
	$(BIN)/mkdocs build --strict

# Every table of docs/performance.md that can be measured here, into benchmarks/performance.md. Real clips are named by MEDIA=FOLDER.
bench: install-test
	$(BIN)/python benchmarks/performance.py --document benchmarks/performance.md $(if $(MEDIA),--media $(MEDIA))

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "affstore needs Python 3.12 or 3.13, and found neither. Install one (with its venv module), or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
