# Two commands matter: `make demo` and `make test`. Each makes the environment first, once.

PYTHON ?= python3
VENV ?= .venv
# Extra words for pip when it installs PyTorch, such as an index with CPU-only builds.
TORCH_PIP ?=
# The test machine has two cores; more threads than cores only wait for one another.
export OMP_NUM_THREADS ?= 2
# Tests run in this many processes of one thread each; a file's tests stay together, in order.
WORKERS ?= auto
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
# What `make bench` measures: vgg8-16 vgg8-64 resnet18-16 transformer mlp; all, if none is named.
NETWORKS ?=
# The versions that are installed, and the Python of the lowest ones promised.
CONSTRAINTS ?= constraints.txt
OLDEST_PYTHON ?= python3.11

BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(or $(shell sed -n 's/^torch==/torch==/p' $(CONSTRAINTS)),torch)
AIHWKIT := $(shell sed -n 's/^aihwkit==/aihwkit==/p' constraints.txt)

.PHONY: help setup demo test test-fast test-oldest test-newest dist dist-check lint docs site bench clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

setup: $(READY) ## Make the environment in .venv: Python >= 3.11, the pinned packages, everychip itself

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "everychip needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@echo "everychip: making the environment in $(VENV) (once; a few minutes, most of them PyTorch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "everychip: installing $(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) $(TORCH_PIP) $(TORCH)
	@echo "everychip: installing the other pinned packages and everychip"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: $(AIHWKIT) \
	  2>/dev/null || echo "everychip: no wheel of $(AIHWKIT) for this Python; the tests that compare with it will be skipped"
	@touch $(READY)
	@echo "everychip: the environment is ready"

demo: setup ## Train a network on digits in seven ways, program chips, print verdicts and story, write report.html
	$(BIN)/everychip demo

test: setup ## Run every test, docstring example and documentation block, on all cores
	$(PYTEST)

test-fast: setup ## Run the quick tests: no pages, no committed results, no trainings of many epochs
	$(PYTEST) -m "not slow"

test-oldest: ## Run the quick tests on the lowest promised versions: Python 3.11, constraints-oldest.txt
	$(MAKE) setup VENV=.venv-oldest PYTHON=$(OLDEST_PYTHON) CONSTRAINTS=constraints-oldest.txt AIHWKIT=
	$(MAKE) test-fast VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt PYTEST_ADDOPTS="-W default"

test-newest: ## Run the quick tests on whatever versions pip finds today
	$(MAKE) setup VENV=.venv-newest CONSTRAINTS=constraints-none.txt
	$(MAKE) test-fast VENV=.venv-newest CONSTRAINTS=constraints-none.txt PYTEST_ADDOPTS="-W default"

dist: setup ## Build wheel and sdist into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

dist-check: dist ## Build wheel and sdist, see that they hold the same, and run the demo of the wheel in an empty environment
	rm -rf .venv-dist && $(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH_PIP) $(TORCH)
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	.venv-dist/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w .venv-dist/again dist/*.tar.gz
	for wheel in dist/*.whl .venv-dist/again/*.whl; do \
	  $(PYTHON) -m zipfile -l $$wheel | awk '{ print $$1, $$NF }' | sort > .venv-dist/$$(basename $$(dirname $$wheel)).txt; done
	cmp .venv-dist/dist.txt .venv-dist/again.txt
	cd .venv-dist && bin/everychip demo -o demo && test -s demo/report.html
	cd .venv-dist && bin/python -c "import everychip as ec; print(ec.load('digits-lenet-gaussian-0.3'))"

lint: setup ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup ## Write docs/reference from the code, the tables of results, and what the blocks print
	$(BIN)/python tools/docs/make_reference.py
	$(BIN)/python tools/docs/device_pages.py
	$(BIN)/python tools/docs/fill_tables.py
	$(BIN)/python tools/docs/leaderboard_plots.py
	$(BIN)/python tools/docs/policies.py
	$(BIN)/python tools/docs/which_network.py
	$(BIN)/python tools/docs/diagrams.py
	$(BIN)/python tools/docs/run_pages.py
	$(BIN)/python tools/docs/notebooks.py

site: setup ## Build the documentation as a site in site/, warnings as errors
	$(BIN)/sphinx-build -q -W --keep-going -c docs -b html . site

bench: setup ## Measure steps, chips, memory and start-up beside other tools, and write docs/results/benchmarks.md
	$(BIN)/python benchmarks/side_by_side/run.py $(NETWORKS)
	$(BIN)/python tools/docs/fill_tables.py docs/results/benchmarks.md

clean: ## Remove the environment and everything that tools left behind
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-dist dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
