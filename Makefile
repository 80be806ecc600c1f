# Verbs; the work is done by CMake (CMakeLists.txt) and by the programs in tools/.
#
#   make         build everything: Caffe, the plug-in, pycaffe, the Python environment
#   make demo    train a plain and a BANG LeNet, and compare them
#   make test    build and run all tests
#   make bench   measure what BANG costs, and how fast the engine, PASS and the search are
#   make lint    check format, types and style of our own sources
#
#   make CUDA=1 [test, ...]    build (and test, ...) with CUDA, in build-cuda/; CUDAARCHS=native (or 90,
#                              ...) in the environment compiles for those GPUs alone, and faster

BUILD ?= build$(if $(CUDA),-cuda)
export CMAKE_GENERATOR ?= Ninja
.DEFAULT_GOAL := build
.PHONY: build demo test bench lint

build:
	@python3 tools/system_packages.py
	@cmake -S . -B $(BUILD) --log-level=NOTICE $(if $(CUDA),-DUSE_CUDA=ON)
	@cmake --build $(BUILD)

demo: build
	@$(BUILD)/venv/bin/python tools/demo.py

test: build
	ctest --test-dir $(BUILD) --output-on-failure --parallel $(shell nproc)

bench: build
	@$(BUILD)/venv/bin/python tools/bench_bang.py
	@$(BUILD)/venv/bin/python tools/bench_engine.py
	@$(BUILD)/venv/bin/python tools/bench_pass.py
	@$(BUILD)/venv/bin/python tools/bench_search.py

lint: build
	@cmake --build $(BUILD) --target lint
