# The manual: every job of the project is one target.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# The tests of a file stay together: many share what is slow to set up. Many wait now and then, slow ones half the time:
# two cores have time for more processes than two. Several threads in each would only be in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --dist loadfile --no-loadscope-reorder --numprocesses

.PHONY: help install demo test test-slow lint format bench bench-shiftlayers bench-worker bench-service bench-optimizer screenshots bench-scale soak sbom check-deploy dist docs clean

help:            ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

install: $(STAMP)  ## build .venv with every version pinned
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "greenshift needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: install    ## run a whole study on real data: two workers, about two minutes
	$(BIN)/greenshift run digits --workers 2 --out runs/demo --dashboard

test: install    ## run all tests, on two cores
	$(PYTEST) 3

test-slow: install  ## run the tests that `make test` leaves out
	$(PYTEST) 4 -m slow

lint: install    ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install  ## mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install   ## seconds per ask and tell, and per epoch, with the noise of this machine
	$(BIN)/python tests/benchmarks/bench.py

bench-shiftlayers: install  ## what shift layers cost beside plain ones and DeepShift's, in under three minutes
	$(BIN)/python -m tests.benchmarks.bench_shiftlayers

bench-worker: install  ## images a second beside torchvision's transforms, and what isolation and the meter cost
	$(BIN)/python -m tests.benchmarks.bench_worker

bench-service: install  ## what the store costs in SQLite and PostgreSQL, and coordinating on a simulated clock: idle share, asks, rebuilding
	$(BIN)/python -m tests.benchmarks.bench_store
	$(BIN)/python -m tests.benchmarks.bench_coordinator

bench-optimizer: install  ## ours beside other optimizers on problems whose best front is known, with their kept results
	$(BIN)/python -m tests.benchmarks.optimizer

screenshots: install  ## draw the pictures of the dashboard anew, in the Chromium of the system
	$(BIN)/python -m tests.browser.screenshots

bench-scale: install  ## 5,000 short trials on 64 workers of a real scheduler, and memory over 50,000 recorded ones
	$(BIN)/python -m tests.benchmarks.bench_scale --seconds 5

soak: install    ## an hour of machines that come, go and are cut off; as root, in namespaces of this machine's network
	$(BIN)/python -m tests.benchmarks.soak

check-deploy: install  ## all that can be said of deploy/ without a cluster, in under five minutes
	$(PYTEST) 3 -m '' tests/deploy

sbom: install    ## what both images are made of, as CycloneDX, in build/
	mkdir -p build
	$(BIN)/python deploy/packages.py > build/coordinator.txt
	$(BIN)/cyclonedx-py requirements --output-reproducible --output-file build/sbom-coordinator.json build/coordinator.txt
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file build/sbom-worker.json .venv

docs: install    ## build the documentation site into build/docs; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -c deploy/docs . build/docs

dist: install    ## build the wheel and the sdist into dist/
	$(BIN)/python -m build --no-isolation

clean:           ## remove what was built; runs/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
