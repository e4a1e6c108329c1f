# Every target sets up what it needs: a virtual environment in .venv with the project installed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := trainables/system/tested_versions.txt
RUN := runs/methods
HAS_CHROMIUM = for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit 0; done; exit 1

.PHONY: demo test browser check slow trackers families family-losses reference audit bench bench-data versions install clean

## demo: the shipped `methods` spec on SmolLM2-135M, and its report; continues a run that was interrupted
demo: install
	$(BIN)/paretune fetch smollm2-135m
	$(BIN)/paretune run methods $(if $(wildcard $(RUN)),--resume)

## test: the tests that CI runs
test: install browser
	$(BIN)/python -m pytest -m "not slow and not sweep" -n auto --dist loadfile --durations=25
	$(BIN)/python -m pytest -m "sweep and not slow" -n 2 --dist loadfile --no-loadscope-reorder --durations=25 $$(grep -rl mark.sweep tests --include="test_*.py")
	@( $(HAS_CHROMIUM) ) || echo "NOT TESTED: the pages in a browser (tests/sweeps/ui/browser), as there is no Chromium."

## browser: Chromium, for the tests of pages in a browser, which are skipped without it; by apt-get where it is missing
browser:
	@( $(HAS_CHROMIUM) ) && exit 0; \
	run=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
	{ $$run apt-get update -qq; $$run apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
	|| echo "Chromium is missing and could not be installed by apt-get: the tests of pages in a browser are skipped."

## check: style, types, import contracts, and the fast tests; before every commit
check: install browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow and not sweep" -n auto --dist loadfile

## slow: the tests that take minutes, on the real model
slow: install browser
	$(BIN)/python -m pytest -m slow

## trackers: the tests of SwanLab and Trackio, which need other versions of packages: these lie over ours in a folder
## that is removed
trackers: install
	@set -e; own=$$(mktemp -d); trap 'rm -rf "$$own"' EXIT; \
	$(BIN)/python -m venv "$$own"; \
	packages() { "$$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	echo "import site; site.addsitedir('$$(packages $(abspath $(BIN))/python)')" > "$$(packages "$$own/bin/python")/ours.pth"; \
	"$$own/bin/python" -m pip install --quiet --no-compile --editable ".[swanlab,trackio]"; \
	"$$own/bin/python" -m pytest -rs tests/sweeps/tracking/test_swanlab.py tests/sweeps/tracking/test_trackio.py

## gpu: verifies on a GPU what the tests can't, in at most eight minutes; GPU_PYTHON=python3 for that of an image
GPU_PYTHON := $(BIN)/python
.PHONY: gpu gpu-sweep
gpu: $(if $(filter $(BIN)/%,$(GPU_PYTHON)),install)
	$(GPU_PYTHON) -m tests.gpu

## gpu-sweep: what of that needs Ray: two trials that share the GPU, killed and resumed
gpu-sweep: $(if $(filter $(BIN)/%,$(GPU_PYTHON)),install)
	$(GPU_PYTHON) -m tests.gpu.sweep

## families: every family of models in every way to train it, and the table of them in trainables/README.md
families: install
	$(BIN)/python -m tests.trainables.models.family_matrix --table trainables/README.md

## family-losses: the first step of every stage in every family beside plain transformers', by attention and packing
family-losses: install
	$(BIN)/python -m tests.trainables.models.family_losses --table trainables/README.md

## reference: the tables of allowed values in sweeps/README.md and trainables/README.md, and those of adapter types and studies
reference: install
	$(BIN)/python -m tests.helpers.allowed_values
	$(BIN)/python -m tests.helpers.adapter_types
	$(BIN)/python -m tests.helpers.studies table

## studies: runs the shipped studies of published results (those that `runs` has go on where they stand), and compares what comes out
## with what is stored in reports/studies; fails (exit code 2, as make's always) where a run fails, is not stored, or a claim comes out otherwise
STUDIES := $(basename $(notdir $(wildcard sweeps/specs/study-*.yaml)))
.PHONY: studies
studies: install
	$(BIN)/paretune fetch smollm2-135m
	@failed=0; for study in $(STUDIES); do \
		if [ -d "runs/$$study" ]; then resume=--resume; else resume=; fi; \
		echo "$(BIN)/paretune run $$study $$resume"; $(BIN)/paretune run "$$study" $$resume || { [ $$? -ne 130 ] || exit 130; failed=1; }; \
	done; \
	$(BIN)/python -m tests.helpers.studies compare $(STUDIES:%=runs/%) || failed=1; exit $$failed

## audit: known vulnerabilities of what is installed; needs a network
audit: install
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

## bench: tokens per second, Paretune's trainer against a plain TRL script, in turn
bench: install
	$(BIN)/python -m tests.benchmarks.throughput

## bench-sweep: 16 LoRA configs by a sweep, and by a loop over a plain TRL script
.PHONY: bench-sweep
bench-sweep: install
	$(BIN)/paretune fetch smollm2-135m
	$(BIN)/python -m tests.benchmarks.sweep

## bench-data: rows per second and memory of converting and tokenizing a million rows
bench-data: install
	$(BIN)/python -m tests.benchmarks.data

## versions: trainables/system/tested_versions.txt anew, from what is installed
versions: install
	$(BIN)/python -m tests.helpers.tested_versions

## install: the virtual environment with the tested versions, created again when these or pyproject.toml change
install: $(INSTALLED)

$(INSTALLED): pyproject.toml $(TESTED)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --no-compile --constraint $(TESTED) --editable ".[dev]"
	# pip would use one core. Packages' tests are not imported; some files are templates.
	$(BIN)/python -m compileall -q -j 0 -x '/tests?/|/rllib/' $(VENV)/lib >/dev/null || true
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
