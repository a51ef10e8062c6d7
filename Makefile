# Every target makes .venv when it is missing, and renews it when a requirement changed.
# The packages are installed editable: a changed source needs no new installation.
#   make test runs in as many processes as there are cores, at most four; ARGS="-n 0" in one.
#   make test ARGS="tests/core -k grid"    passes ARGS on to pytest (test), to the example (demo) or to the benchmarks (bench)

.SILENT:
.DELETE_ON_ERROR:
.PHONY: demo test test-install lint bench
.DEFAULT_GOAL := test

export TF_CPP_MIN_LOG_LEVEL ?= 2

PACKAGES := packages/core packages/export packages/qat packages/wq packages/tune packages/cli
BIN := .venv/bin
READY := .venv/.ready

demo: $(READY)
	$(BIN)/python examples/digits_qat/main.py $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

test-install: $(READY)
	$(BIN)/python -m pytest -m install $(ARGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

$(READY): constraints.txt requirements-dev.txt $(PACKAGES:%=%/pyproject.toml)
	echo "Installing graphquant and its development tools into .venv ..."
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    python=$$(python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || echo python3); \
	    "$$python" -m venv --clear .venv; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --requirement requirements-dev.txt $(PACKAGES:%=--editable ./%)
	touch $@
