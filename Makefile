# Verbs only; CMakeLists.txt and the programs in tools/ do the work.
#
#   make         build everything: Caffe, the plug-in, pycaffe, the Python environment
#   make demo    train a plain and a BANG LeNet, and compare them
#   make test    build and run all tests
#   make bench   measure what training costs with BANG and with attacks, and how fast the rest is
#   make lint    check format, types and style of the project's sources
#   make docs    build the documentation in docs/ as a site, into build/site
#   make docs-check   run all commands that README.md and docs/ show, the slow ones too
#   make wheel   pack the build as a wheel that needs neither a compiler nor system packages, in build/wheel
#   make lock    pin the Python packages of pyproject.toml by hash (UPGRADE=1: the newest versions)
#
#   make CUDA=1 [test, ...]    build (and test, ...) with CUDA in build-cuda/. CUDAARCHS=native (or 90, ...)
#                              in the environment compiles for those GPUs only, and faster

BUILD ?= build$(if $(CUDA),-cuda)
export CMAKE_GENERATOR ?= Ninja
.DEFAULT_GOAL := build
.PHONY: build demo test bench lint docs docs-check wheel lock

build:
	@python3 tools/system_packages.py
	@cmake -S . -B $(BUILD) --log-level=NOTICE $(if $(CUDA),-DUSE_CUDA=ON)
	@cmake --build $(BUILD)

demo: build
	@$(BUILD)/venv/bin/python tools/demo.py

test: build
	ctest --test-dir $(BUILD) --output-on-failure --parallel $(shell nproc)

bench: build
	@$(BUILD)/venv/bin/python benchmarks/bench_bang.py
	@$(BUILD)/venv/bin/python benchmarks/bench_adversarial.py
	@$(BUILD)/venv/bin/python benchmarks/bench_engine.py
	@$(BUILD)/venv/bin/python benchmarks/bench_zoo.py --output $(BUILD)/zoo
	@$(BUILD)/venv/bin/python benchmarks/bench_pass.py
	@$(BUILD)/venv/bin/python benchmarks/bench_search.py
	@$(BUILD)/venv/bin/python benchmarks/bench_certify.py
	@$(BUILD)/venv/bin/python benchmarks/bench_attacks.py

lint: build
	@cmake --build $(BUILD) --target lint

# A Python environment for one task, from a file in caffe_ext/python/requirements; needs no build.
$(BUILD)/%-tools/ready: caffe_ext/python/requirements/%.txt
	@python3 -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --require-hashes --no-deps --requirement $<
	@touch $@

docs: $(BUILD)/docs-tools/ready
	@NO_MKDOCS_2_WARNING=1 $(<D)/bin/mkdocs --quiet build --site-dir $(abspath $(BUILD)/site)

wheel: build
	@cmake --build $(BUILD) --target wheel

docs-check: build
	@$(BUILD)/venv/bin/python tests/docs/run_commands.py --build $(BUILD) --slow

lock: $(BUILD)/lock-tools/ready
	@PATH=$(abspath $(<D)/bin):$$PATH \
	  python caffe_ext/python/pin_requirements.py $(if $(UPGRADE),--upgrade)
