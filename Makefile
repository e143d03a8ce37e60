# Every target creates the virtual environment it needs.
#
#   make run              execute all notebooks on the embedded sample; open build/index.html
#   make test             unit tests, then every notebook and solution under nbval
#   make lab              JupyterLab in notebooks/
#   make e2e              every lesson in the real JupyterLab, in headless Chromium
#   make execute          re-run the committed outputs in the full profile (NB=01 for one notebook)
#   make lint             ruff on code and notebooks
#   make agree            what is generated is up to date: taught cells, README, links, pictures
#   make student          students' copies, without outputs and solutions, in build/student/
#   make links REPO=…     links to Colab and badges for owner/name on GitHub; the first cells
#   make site             a static site of the committed notebooks in build/site/; needs no network
#   make verify-results   rerun recorded numbers (KEY=02/ for some of them)
#   make clean            remove build/ and caches (not the environments)
#
# CONSTRAINTS=constraints/oldest.txt tests the other end of the supported versions, in an environment
# of its own; CONSTRAINTS= (empty) takes whatever is newest. PYTHON=… chooses the interpreter.

CONSTRAINTS ?= constraints/newest.txt
VENV := .venv$(patsubst %,-%,$(filter-out newest,$(if $(CONSTRAINTS),$(basename $(notdir $(CONSTRAINTS))),unpinned)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
QUICK := VAE_PROFILE=quick VAE_DATA=embedded VAE_STRICT=1
NB ?=
KEY ?=

.DEFAULT_GOAL := run
.PHONY: run test test-unit test-notebooks e2e lab execute lint agree student links site verify-results clean venv

run: $(STAMP)
	$(BIN)/python tools/run_notebooks.py $(NB)

test: test-unit test-notebooks

test-unit: $(STAMP)
	$(BIN)/python -m pytest --durations=10 --ignore=tests/e2e tests

# A process of its own: nbval starts one kernel per notebook, in the notebook's folder.
test-notebooks: $(STAMP)
	@if [ -z "$$(ls notebooks/*.ipynb 2>/dev/null)" ]; then echo "no notebooks yet"; else \
	  $(QUICK) $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 \
	    --durations=10 --durations-min=1 notebooks; fi

e2e: $(STAMP)
	$(BIN)/python -m pytest -rs --durations=10 tests/e2e

lab: $(STAMP)
	cd notebooks && $(abspath $(BIN))/jupyter lab

execute: $(STAMP)
	$(BIN)/python tools/execute.py $(NB)

lint: $(STAMP)
	$(BIN)/ruff check helpers tests tools notebooks

agree: $(STAMP)
	for tool in taught readme_table links pictures; do $(BIN)/python tools/$$tool.py --check || exit 1; done

student: $(STAMP)
	$(BIN)/python tools/student.py $(NB)

links: $(STAMP)
	$(BIN)/python tools/links.py $(if $(filter command line,$(origin REPO)),"$(REPO)")

site: $(STAMP)
	$(BIN)/python tools/build_site.py

verify-results: $(STAMP)
	$(BIN)/python tools/verify_results.py "$(KEY)"

venv: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@python=; for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.11, 3.12 or 3.13 found (tried: $(or $(PYTHON),python3 python3.13 python3.12 python3.11))." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi; \
	echo "creating $(VENV) with $$("$$python" -V), a few minutes the first time"; \
	"$$python" -m venv $(VENV) || { \
	  echo "error: 'python -m venv' failed; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e ".[dev]"
	@touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find helpers tests tools notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
