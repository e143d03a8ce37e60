# Every target creates the virtual environment it needs.
#
#   make run              execute all lessons on the embedded sample; open build/index.html
#   make test             test-unit, then test-notebooks: every lesson and solution under nbval
#   make lab              JupyterLab in notebooks/
#   make e2e              every lesson in the real JupyterLab, and every page of the site, in Chromium
#   make execute          run lessons and solutions on the real data, store their outputs (NB=01: one)
#   make lessons          run the lessons, compare with the published run, write nothing (NB=01: one)
#   make publish-values   measure the numbers of a lesson anew: data/published.toml (NB=01)
#   make generate         taught cells, first cells, README tables and pictures, TEACHING's tables
#   make agree            whether what is generated is up to date, and notebooks keep the rules
#   make lint             ruff on code and notebooks, spelling, length of functions
#   make student          students' copies, without outputs and solutions, in build/student/
#   make figures          the figures of the lessons for slides, as SVG, in build/figures/ (NB=07)
#   make links REPO=…     where the course is published, owner/name on GitHub: links and first cells
#   make site             a static site of the committed notebooks in build/site/; needs no network
#   make verify-results   rerun recorded numbers (KEY=02/ for some of them)
#   make venv             create the environment and nothing else
#   make clean            remove build/ and caches (not the environments)
#
# Tests run in two processes, each of which takes up to 2 GB; JOBS=… chooses how many.
# CONSTRAINTS=constraints/oldest.txt tests the other end of the supported versions, in an environment
# of its own; CONSTRAINTS= (empty) takes whatever is newest. PYTHON=… chooses the interpreter.
# All paths are relative to this folder, whose own path may hold spaces.

CONSTRAINTS ?= constraints/newest.txt
VENV := .venv$(patsubst %,-%,$(filter-out newest,$(if $(CONSTRAINTS),$(basename $(notdir $(CONSTRAINTS))),unpinned)))
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11)
QUICK := VAE_PROFILE=quick VAE_DATA=embedded VAE_STRICT=1 VAE_PROGRESS=0
JOBS ?= 2
# Processes that share cores must not spin while they wait: t-SNE then takes four times as long.
PYTEST := OMP_WAIT_POLICY=passive $(RUN) -m pytest --durations=10 -n $(JOBS)
TEXT := README.md CONTRIBUTING.md CHANGELOG.md data/README.md notebooks helpers tests tools Makefile
TESTS ?= tests
NB ?=
KEY ?=

.DEFAULT_GOAL := run
.PHONY: run test test-unit test-notebooks e2e lab execute lessons publish-values generate agree lint \
  student figures links site verify-results clean venv

run: $(STAMP)
	$(RUN) tools/build.py run $(NB)

test: test-unit test-notebooks

test-unit: $(STAMP)
	$(PYTEST) --dist loadfile --junitxml=build/reports/unit.xml --ignore=tests/e2e $(TESTS)

# nbval starts one kernel per notebook, in the notebook's folder: all cells of one go to one process.
test-notebooks: $(STAMP)
	$(QUICK) $(PYTEST) --durations-min=1 --junitxml=build/reports/notebooks.xml \
	  --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks

e2e: $(STAMP)
	$(PYTEST) -rs --junitxml=build/reports/e2e.xml tests/e2e

lab: $(STAMP)
	cd notebooks && ../$(RUN) -m jupyterlab

execute: $(STAMP)
	$(RUN) tools/execute.py $(NB)

lessons: $(STAMP)
	$(RUN) tools/execute.py --check $(NB)

publish-values: $(STAMP)
	$(RUN) tools/published.py publish $(NB)

generate: $(STAMP)
	$(RUN) tools/generate.py
	$(RUN) tools/teaching.py

agree: $(STAMP)
	$(RUN) tools/generate.py --check
	$(RUN) tools/teaching.py --check
	$(RUN) tools/hygiene.py

lint: $(STAMP)
	$(RUN) -m ruff check helpers tools tests notebooks
	$(RUN) -m ruff format --check helpers tools tests notebooks
	$(RUN) -m codespell_lib $(TEXT)
	$(RUN) tools/hygiene.py helpers tools

student: $(STAMP)
	$(RUN) tools/exercises.py $(NB)

figures: $(STAMP)
	$(RUN) tools/figures.py $(NB)

links: $(STAMP)
	$(RUN) tools/generate.py $(if $(filter command line,$(origin REPO)),--address "$(REPO)")

site: $(STAMP)
	$(RUN) tools/build.py site

verify-results: $(STAMP)
	$(RUN) tools/published.py verify "$(KEY)"

venv: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@python=; for candidate in $(PYTHONS); do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo 'error: no Python 3.11, 3.12 or 3.13 found (tried: $(PYTHONS)).' >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi; \
	echo "creating $(VENV) with $$("$$python" -V), a few minutes the first time"; \
	"$$python" -m venv $(VENV) || { \
	  echo "error: 'python -m venv' failed; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }
	@$(RUN) -m pip install -q --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e ".[dev,jax]"
	@touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find helpers tests tools notebooks '(' -name __pycache__ -o -name .ipynb_checkpoints ')' -prune -exec rm -rf {} +
