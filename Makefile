# Everything below sets itself up: `make demo` and `make test` need Python 3.11-3.13 and make, nothing else.
# Another Python: make PYTHON=/path/to/python3.12 test

PYTHON ?=
OUT ?= demo
PYTEST_ARGS ?=
PYTEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-fast lint format check wheel clean clean-venv

READY := .venv/.ready

# The stamp holds the folder that the environment was made for. A moved tree, a vanished Python or an install that
# stopped half way leaves no valid stamp, and the environment is made anew.
$(shell { test "`cat $(READY) 2>/dev/null`" = "`pwd -P`" && .venv/bin/python -c '' 2>/dev/null; } || rm -f $(READY))

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(READY) ## make .venv with mesoface and its pinned dependencies

demo: $(READY) ## run the whole chain on the virtual studio; results in demo/ (OUT=folder)
	.venv/bin/mesoface demo --out "$(OUT)"

test: $(READY) ## ruff and all tests (PYTEST_ARGS="-k name")
	.venv/bin/ruff check --quiet .
	.venv/bin/pytest -n $(PYTEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

test-fast: $(READY) ## the tests that take less than about 20 seconds each
	.venv/bin/pytest -n $(PYTEST_PROCESSES) --dist loadfile -m "not slow" $(PYTEST_ARGS)

lint: $(READY) ## ruff: rules and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: $(READY) ## let ruff repair and format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

check: lint ## lint and pyright
	.venv/bin/pyright --pythonpath .venv/bin/python

wheel: $(READY) ## build dist/mesoface-*.whl
	rm -rf build dist
	.venv/bin/python -m build --wheel --no-isolation

clean: clean-venv ## remove the environment, caches and build output (results stay)
	rm -rf build dist mesoface.egg-info .pytest_cache .ruff_cache
	find capture reconstruct dataset model flows tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

clean-venv: ## remove .venv
	rm -rf .venv

$(READY): pyproject.toml constraints.txt
	@fits='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	set -- $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3 python); \
	found=; \
	for python in "$$@"; do \
	    if "$$python" -c "$$fits" >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if test -z "$$found"; then \
	    echo "mesoface needs Python 3.11, 3.12 or 3.13 with venv and pip; none works among: $$*." >&2; \
	    echo "Install one (Debian, Ubuntu: apt install python3 python3-venv)," \
	        "or name one: make PYTHON=/path/to/python3.12 ..." >&2; \
	    exit 1; \
	fi; \
	echo "Making .venv with `"$$found" --version`; this takes two or three minutes."; \
	rm -rf .venv && "$$found" -m venv .venv && \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' && \
	pwd -P > $(READY)
