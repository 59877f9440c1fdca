# `make` alone lists the targets. Everything is installed into .venv; nothing outside this folder changes.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DATA ?= data
RUN ?= runs/crowd-n
MINUTES ?= 100
PROTO := protos/crowd/detector/v1/detector.proto

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.service ## set up and serve: gRPC on port 50051, browsers on 8000; Ctrl-C stops both
	@exec $(BIN)/detector-run

detector: $(VENV)/.service ## set up and serve gRPC alone
	@exec $(BIN)/detector-service

demo: $(VENV)/.service ## set up, serve, send a photograph through the stream and show what was found
	@$(BIN)/python clients/python/examples/demo.py

test: $(VENV)/.dev ## run all tests; REQUIRE_ALL=1 makes a left-out test a failure
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev $(VENV)/.proto ## style, types, contract, generated code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@main=$$(git rev-parse -q --verify origin/main || git rev-parse -q --verify main) && \
	  git cat-file -e "$$main:$(PROTO)" && $(BIN)/buf breaking --against ".git#ref=$$main"
	@$(MAKE) --no-print-directory OUT=$(VENV)/generated generate
	@for f in $$(cd $(VENV)/generated && find . -type f); do \
	  cmp "$(VENV)/generated/$$f" "protos/$$f" || { echo "protos/$$f is not what $(PROTO) gives: run 'make proto'"; exit 1; }; \
	done
	@echo "check: all clean"

format: $(VENV)/.dev ## format the code, mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: $(VENV)/.proto ## rebuild the generated code from the contract
	@$(MAKE) --no-print-directory OUT=protos generate

bench: $(VENV)/.bench ## measure, beside peers, in 40 minutes at most; writes benchmarks/results.json
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/.dev ## measure in two minutes, and compare with benchmarks/results.json
	@$(BIN)/python -m benchmarks --quick $(ARGS)

bench-soak: $(VENV)/.dev ## overload the service for an hour, and see what its memory does
	@$(BIN)/python -m benchmarks.soak $(ARGS)

bench-bridge: $(VENV)/.dev ## measure the bridge; writes benchmarks/bridge_results.json
	@$(BIN)/python -m benchmarks.bridge $(ARGS)

bench-gpu: $(VENV)/.bench ## measure PyTorch's engine on a GPU; writes benchmarks/results-gpu.json
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

evaluate: $(VENV)/.dev ## measure how good the model that ships is, on the pictures in DATA=data
	@$(BIN)/python -m training.evaluate --data $(DATA) $(ARGS)

train: $(VENV)/.dev ## train a model on the pictures in DATA=data for MINUTES=100, into RUN=runs/crowd-n
	@$(BIN)/python -m training.train --data $(DATA) --run $(RUN) --minutes $(MINUTES) $(ARGS)
	@$(BIN)/python -m training.calibrate $(RUN)/weights.pt $(RUN)/crowd-n.pt --data $(DATA)
	@$(BIN)/python -m training.export $(RUN)/crowd-n.pt
	@$(BIN)/python -m training.curve $(RUN)

clean: ## remove what was installed and built here
	rm -rf $(VENV) .venv-proto .pytest_cache .mypy_cache .ruff_cache .hypothesis models/.cache demo.jpg

generate:
	@rm -rf $(VENV)/generated && mkdir -p $(OUT)
	@PATH="$(CURDIR)/.venv-proto/bin:$$PATH" .venv-proto/bin/python -m grpc_tools.protoc -Iprotos \
	  --python_out=$(OUT) --grpc_python_out=$(OUT) --mypy_out=quiet:$(OUT) --mypy_grpc_out=quiet:$(OUT) $(PROTO)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python has no working venv module here. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.service: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up: installing the services and the command line into $(VENV) (about 600 MB, half a minute) ..."
	@$(PIP_INSTALL) -e '.[service,bridge,cli]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.service
	@echo "Setting up: installing what tests and checks need into $(VENV) (with PyTorch, several GB) ..."
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

# Where one of them cannot be had, the others are measured all the same: the benchmark says what it leaves out.
$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.dev
	@echo "Setting up: installing the peers to measure beside into $(VENV) (LitServe, Ray, Starlette) ..."
	@$(PIP_INSTALL) -e '.[bench]' || for package in starlette uvicorn litserve 'ray[serve]' matplotlib py-spy; do \
	  $(PIP_INSTALL) "$$package" || echo "make bench: $$package could not be installed"; \
	done
	@touch $@

# The generated code demands a protobuf and a grpcio at least as new as its generator. These are old
# enough that a client of today need not upgrade, and new enough that protobuf 6 and 7 both support them;
# they have a venv of their own, because the service itself runs on newer ones.
$(VENV)/.proto: Makefile | $(BIN)/python
	@$(PYTHON) -m venv .venv-proto
	@.venv-proto/bin/python -m pip install --quiet --disable-pip-version-check \
	  grpcio-tools==1.73.1 protobuf==6.33.6 mypy-protobuf==5.1.0 setuptools==80.9.0
	@touch $@

.PHONY: help run detector demo test check format proto bench bench-quick bench-soak bench-bridge bench-gpu evaluate train clean generate
