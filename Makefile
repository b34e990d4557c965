# Every target makes the virtual environment that it needs. PYTHON and VENV can be set from outside.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo

.PHONY: setup demo test test-slow test-board fuzz lint format benchmark performance quality costs \
	default-model wheels clean

setup: $(INSTALLED)

# torch goes in first and alone, so that nothing else decides which build of it is taken.
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

# The main job: quantize the embedded network with the embedded clips, enhance, benchmark, score.
demo: $(INSTALLED)
	mkdir -p $(DEMO)
	$(BIN)/edge-se quantize --precision int8 --out $(DEMO)/gtcrn_int8.tflite
	$(BIN)/edge-se quantize --precision float --out $(DEMO)/gtcrn_float.tflite
	$(BIN)/python -m benchmarks.demo mix $(DEMO)
	$(BIN)/edge-se enhance $(DEMO)/noisy $(DEMO)/enhanced --model $(DEMO)/gtcrn_int8.tflite
	$(BIN)/edge-se benchmark --model $(DEMO)/gtcrn_int8.tflite --max-rtf 0.5 \
		--json $(DEMO)/benchmark.json
	$(BIN)/edge-se evaluate --model $(DEMO)/gtcrn_int8.tflite \
		--reference $(DEMO)/gtcrn_float.tflite --noisy $(DEMO)/noisy --clean $(DEMO)/clean \
		--summary --json $(DEMO)/quality.json
	$(BIN)/python -m benchmarks.demo summary $(DEMO)

# And which share of each file's lines ran; `coverage report -m` names the others afterwards. Before
# Python 3.12 tracing makes tests 40 % longer, so there it is only done for `make test COVERAGE=--cov`.
COVERAGE ?= $(shell $(PYTHON) -c 'import sys; print("--cov" * (sys.version_info >= (3, 12)))')

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow and not board" -n auto --dist loadfile $(COVERAGE)
	@test -n "$(COVERAGE)" || echo "no coverage: it takes 40 % longer before Python 3.12; make test COVERAGE=--cov"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow -n auto --dist loadfile

# A whole board, emulated, from deployment to sound; its disk is made once, in the user's cache.
test-board: $(INSTALLED)
	$(BIN)/python -m pytest -m board -s tests/targets/board

# Damaged files and streams, far more than test-slow has. KINDS and CASES choose.
KINDS ?=
CASES ?= 10000

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(KINDS) --cases $(CASES)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The embedded network in every precision and in C, by turns in one run, and beside them what PEERS
# names: the authors' streaming ONNX, a folder with DTLN's two stages, rnnoise where pyrnnoise is
# installed. Then, where a board can be emulated, its instructions per frame.
PRECISIONS := float dynamic int8 auto
PEERS ?= $(wildcard ../shared/assets/gtcrn/gtcrn_simple.onnx ../shared/assets/dtln)
BENCHMARKED := $(PRECISIONS:%=$(DEMO)/gtcrn_%.tflite)

benchmark: $(INSTALLED) $(BENCHMARKED)
	$(BIN)/edge-se benchmark --model $(firstword $(BENCHMARKED)) --seconds 60 \
		--json $(DEMO)/comparison.json --compare $(wordlist 2,9,$(BENCHMARKED)) c $(PEERS)
	for model in $(BENCHMARKED:%="--model %") "--model gtcrn --engine c"; do \
		$(BIN)/edge-se boards emulate pi4 -- benchmark $$model --seconds 0.5 || exit 0; \
	done

$(BENCHMARKED): $(DEMO)/gtcrn_%.tflite: $(INSTALLED) $(wildcard quant/*.py quant/*/*.py)
	mkdir -p $(DEMO)
	$(BIN)/edge-se quantize --precision $* --recover 0 --out $@

# Speed, instructions and sizes for docs/results.md, all anew: an hour. AUDIO is a recording of
# speech, NETWORKS are checkpoints beside the built-in one.
AUDIO ?= $(DEMO)/noisy/clip_1.wav
NETWORKS ?=

performance: $(INSTALLED) $(BENCHMARKED)
	$(BIN)/python -m benchmarks.demo mix $(DEMO)
	$(BIN)/python -m benchmarks.engines $(AUDIO) $(NETWORKS)
	$(BIN)/python -m benchmarks.frame_loop $(BENCHMARKED)
	$(BIN)/python -m benchmarks.speed $(AUDIO) $(NETWORKS) --peers $(PEERS)
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.sizes
	$(BIN)/python -m benchmarks.results

# What each technique of quantization is worth, on these clips; see docs/results.md. CHECKPOINTS are
# "TITLE=FILE"; without one it is the built-in network.
CHECKPOINTS ?=
NOISY ?= $(DEMO)/noisy
CLEAN ?= $(DEMO)/clean

quality: $(INSTALLED)
	mkdir -p $(DEMO)
	$(BIN)/python -m benchmarks.demo mix $(DEMO)
	$(BIN)/python -m benchmarks.techniques $(CHECKPOINTS) --noisy $(NOISY) --clean $(CLEAN) \
		--json $(DEMO)/techniques.json --plot $(DEMO)/techniques.png

# Count the instructions of every operator on emulated cores anew, after a change of the graph.
costs: $(INSTALLED)
	$(BIN)/python -m targets.emulation.costs

# Make the built-in model files, their weights for C and the C engines in the wheel again, after
# training or a change of the graph.
default-model: $(INSTALLED)
	$(BIN)/edge-se quantize gtcrn --precision int8_float_ends --out edge_se/models/gtcrn.tflite
	$(BIN)/edge-se quantize ul_unas --precision int8 --out edge_se/models/ul_unas.tflite
	$(BIN)/python -m targets.engines
	$(BIN)/python -m edge_se.core.build

# Wheels in dist/: for each platform of boards.toml, with the core compiled for it, and a pure one.
wheels: $(INSTALLED)
	$(BIN)/python -m targets.release dist

clean:
	rm -rf $(DEMO) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
