# `make demo` and `make test` do everything on a fresh machine; `make help` lists all.
#
# PYTHON       the Python (3.11 or newer) that the environment is made with
# TORCH_INDEX  address of a further package index to look for torch in, for example
#              one with CPU builds
# DEMO_OUTPUT  folder that the demo writes to
# TEST_WORKERS programs that share the tests; each takes about 1 GB of memory
# TEST_OPTIONS further options for pytest, for example "-n 0 -x tests/core"
# PICTURES     folder that `make click-through` writes its pictures of the viewer to

PYTHON ?= python3
TORCH_INDEX ?=
DEMO_OUTPUT ?= demo-output
TEST_WORKERS ?= 2
TEST_OPTIONS ?=
PICTURES ?= click-through

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

export TORCH_INDEX

.DEFAULT_GOAL := help
.PHONY: help setup demo test click-through lint format docs reference clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /	/' | expand -t 15

setup: ## create .venv with all that the other targets need (free when up to date)
	@$(PYTHON) scripts/setup_environment.py

demo: setup ## denoise a simulated recording; results in demo-output
	$(BIN)/napari-ppn2v demo -o $(DEMO_OUTPUT)

test: setup ## run the default tests
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(TEST_OPTIONS)

# 1920 pixels wide: docks beside the image need the room.
click-through: setup ## use the real viewer with a mouse, on a screen in memory (Linux)
	@$(PYTHON) scripts/setup_environment.py --windows
	QT_QPA_PLATFORM=xcb xvfb-run -a -s "-screen 0 1920x1200x24" \
	  $(BIN)/python scripts/click_through.py --output $(PICTURES)

lint: setup ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup ## format the code and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: setup ## build the documentation as a site, in site, and check every link
	@$(BIN)/python -c "import material" 2>/dev/null || $(BIN)/python -m pip install -q -e ".[docs]"
	$(BIN)/python docs/make_reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/check_site.py site

reference: setup ## make the pages of the reference anew that are made from the code
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_messages.py

clean: ## remove the environment, caches and the demo's results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site demo-output click-through
