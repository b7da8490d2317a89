# `make help` lists the targets. Everything that a target needs is installed into .venv by the target itself.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python -m profiler

MODEL ?= resnet18
GPU ?= auto
PRECISIONS ?= int8,int4
CACHE ?= network
THREADS ?= 1
OUT ?= .
FLAGS = $(if $(JSON),--json)
GPU_FLAGS = $(if $(CUDA),--cuda "$(CUDA)") $(if $(SUSTAINED),--sustained) $(if $(LOCK_CLOCKS),--lock-clocks) \
	$(if $(CLOCK_MHZ),--clock-mhz "$(CLOCK_MHZ)")

TLS_FILES = $(if $(TLS_CA),--tls-ca-file "$(TLS_CA)") $(if $(TLS_CERT),--tls-cert "$(TLS_CERT)") \
	$(if $(TLS_KEY),--tls-key "$(TLS_KEY)")
FLEET_FLAGS = $(if $(SCHEDULER),--scheduler "$(SCHEDULER)") $(TLS_FILES) $(if $(INSECURE),--insecure)

EXTRA = $(if $(filter %.pt2,$(MODEL)),$(VENV)/.torch)
# What measuring on a GPU takes, where there is one: /dev/dxg is that of Windows' Linux.
HAS_GPU := $(wildcard /proc/driver/nvidia/version /dev/nvidiactl /dev/dxg)
CUDA_EXTRA = $(if $(and $(HAS_GPU),$(filter-out cpu,$(GPU))),$(VENV)/.cuda)
# What links for Arm elsewhere: a cross compiler, or Zig's.
ARM_EXTRA = $(if $(or $(filter aarch64,$(shell uname -m)),$(shell command -v aarch64-linux-gnu-gcc 2>/dev/null)),,$(VENV)/.arm)
# What building for a device takes besides.
BUILD_EXTRA = $(if $(filter aarch64%,$(GPU)),$(ARM_EXTRA),$(if $(filter cpu,$(GPU)),,$(VENV)/.cubin))

.DEFAULT_GOAL := help
.PHONY: help profile scheduler worker allocate quantize run throughput evaluate-accuracy finetune kernels doctor bundle ingest devices lut-check sample \
	fit report compare test test-pycuda check bench clean preflight preflight-tests

help: ## list the targets and their variables
	@echo "make TARGET [VARIABLE=value ...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables of profile (default):"
	@echo "  MODEL=resnet18     resnet18, resnet50, resnet50_v1.5, inceptionv3, FILE.onnx or FILE.pt2"
	@echo "  GPU=auto           auto, cpu, a model (t4, a100, h200), an index or a UUID"
	@echo "  BATCH=             1 on a CPU, 8 on a GPU"
	@echo "  PRECISIONS=int8,int4   TRIALS=   CACHE=network|cold|hot   THREADS=1   OUT=.   JSON=1"
	@echo "  ENERGY=1           joules of each kernel, too, where the device counts them: half a minute each; docs/energy.md"
	@echo "  PREDICTOR=         a latency model of the device, made with LOGS: the search begins with what it knows"
	@echo "  of a GPU: CUDA=   SUSTAINED=1   LOCK_CLOCKS=1 [CLOCK_MHZ=]"
	@echo "  on a fleet: SCHEDULER=tls://host:8786   TLS_CA= TLS_CERT= TLS_KEY=   (or INSECURE=1); docs/fleet.md"
	@echo "Variables of allocate, besides MODEL, GPU (or LUT=FILE), PRECISIONS, BATCH, OUT and JSON:"
	@echo "  LATENCY= SIZE= BOPS= ENERGY= MEMORY=   limits: 0.5 (a fraction) or an amount (3.2ms, 8MB, 70G, 30mJ)"
	@echo "  SENSITIVITY=FILE|max-abs|mse   KEEP=first,last   SCOPE=all|priced   PREDICTOR= CONFIDENCE="
	@echo "  PARETO=latency PLOT=front.svg   FILE=bits.json"
	@echo "Variables of quantize, besides MODEL, BATCH, LUT and JSON:"
	@echo "  BITS=bits.json|UNIFORM=int8   CALIBRATE=images.npz   RANGES=min-max   CLIPPING=max-abs   FILE=net.npz"
	@echo "Variables of run, besides these, GPU, CACHE and OUT: ARGS=\"OPTION ...\", e.g. ARGS=\"--sweep 8\""
	@echo "Variables of throughput, besides these and TRIALS: BATCHES=1,2,4,8,16,32,64   UNIFORM=int8,int4   ENERGY=1   PLOT=curve.svg"
	@echo "Variables of evaluate-accuracy, besides these: IMAGES=test.npz   PLOT=accuracy.svg"
	@echo "Variables of finetune, besides MODEL=FILE.pt2, BITS or UNIFORM, JSON and ARGS: IMAGES=train.npz   FILE=tuned.pt2"
	@echo "Variables of report, besides GPU (or LUT=FILE), MODEL, BATCH, PRECISIONS, OUT and JSON:"
	@echo "  BITS=bits.json   SENSITIVITY=   LOGS=FOLDER   THROUGHPUT=FILE   TO=FOLDER (reports/<device>)"
	@echo "Variables of compare: A= B=   MARGIN=0.1   NOISE=0.02   TO=FOLDER   JSON=1"
	@echo "Variables of kernels (default), besides MODEL, PRECISIONS, OUT and JSON:"
	@echo "  GPU=t4             t4, a100, h200, aarch64 or aarch64-neon; none need be here (auto stands for t4)"
	@echo "  BATCH=             8 on a GPU, 1 on a CPU   CONFIGS=8   CUDA=12|13|nvcc|/path/to/cuda"
	@echo "Variables of bundle, besides these: GPU=t4 (or cpu: this machine's kind)   CACHE=network   FILE=run.zip"
	@echo "  ENERGY=1           joules of each kernel, too, where that machine counts them"
	@echo '  NETWORKS="uniform:int8 bits.json net.npz"   these run end to end there, too   LUT=FILE: their configs'
	@echo "Variable of bench: ARGS=\"PART ... [OPTION ...]\", e.g. ARGS=\"builds --gpu a100\"; ARGS=--help lists them"

profile: $(VENV)/.base $(EXTRA) $(if $(SCHEDULER),$(VENV)/.fleet,$(CUDA_EXTRA)) ## measure every layer of MODEL on the device and write lut/<device>.csv
	@$(RUN) profile "$(MODEL)" --device "$(GPU)" --precisions "$(PRECISIONS)" --cache "$(CACHE)" --threads "$(THREADS)" \
		$(if $(BATCH),--batch "$(BATCH)") $(if $(TRIALS),--trials "$(TRIALS)") $(if $(PREDICTOR),--predictor "$(PREDICTOR)") \
		$(if $(ENERGY),--energy) --out "$(OUT)" $(FLAGS) $(GPU_FLAGS) $(FLEET_FLAGS)

require_encryption = @[ -n "$(INSECURE)" ] || { [ -n "$(TLS_CA)" ] && [ -n "$(TLS_CERT)" ] && [ -n "$(TLS_KEY)" ]; } || \
	{ echo "error: say TLS_CA= TLS_CERT= TLS_KEY= (docs/fleet.md makes them), or INSECURE=1: Dask unpickles what it receives" >&2; exit 2; }

scheduler: $(VENV)/.fleet ## lead a fleet: TLS_CA= TLS_CERT= TLS_KEY= [PORT=8786]; docs/fleet.md
	$(require_encryption)
	@$(VENV)/bin/python -m dask scheduler --protocol $(if $(INSECURE),tcp,tls) --port $(or $(PORT),8786) $(TLS_FILES) $(ARGS)

worker: $(VENV)/.fleet $(VENV)/.cubin $(CUDA_EXTRA) ## measure for SCHEDULER=tls://host:8786: RESOURCES="t4=1,compile=4" TLS_CA= TLS_CERT= TLS_KEY=
	$(require_encryption)
	@[ -n "$(SCHEDULER)" ] && [ -n "$(RESOURCES)" ] || { echo "error: say SCHEDULER=tls://host:8786 RESOURCES=t4=1" >&2; exit 2; }
	@[ -n "$(INSECURE)" ] || case "$(SCHEDULER)" in tls://*) ;; *) \
		echo "error: $(SCHEDULER) is not encrypted, whatever the certificates: say tls://, or INSECURE=1" >&2; exit 2;; esac
	@$(VENV)/bin/python -m dask worker "$(SCHEDULER)" --resources "$(RESOURCES)" --nthreads 8 $(TLS_FILES) $(ARGS)

sample: $(VENV)/.base $(CUDA_EXTRA) ## measure COUNT=16 workloads, those that teach a latency model most
	@$(RUN) sample --device "$(GPU)" --precisions "$(PRECISIONS)" --cache "$(CACHE)" --threads "$(THREADS)" \
		$(if $(COUNT),--count "$(COUNT)") $(if $(TRIALS),--trials "$(TRIALS)") $(if $(ENERGY),--energy) \
		--out "$(OUT)" $(FLAGS) $(GPU_FLAGS)

fit: $(VENV)/.base ## learn a latency model FILE=LUT.model.json from LUT=... [LOGS=tuning_logs/...]; docs/predictor.md
	@[ -n "$(LUT)" ] || { echo "error: say which rows to learn from: make fit LUT=lut/<device>.csv" >&2; exit 2; }
	@$(RUN) fit --lut "$(LUT)" -o "$(or $(FILE),$(basename $(LUT)).model.json)" $(if $(LOGS),--logs "$(LOGS)") $(FLAGS)

# Fractions are of the way from the all-INT4 to the all-INT8 network, as in HAWQ-V3; amounts have units (3.2ms, 8MB).
allocate: $(VENV)/.base $(EXTRA) ## choose the bits of each layer of MODEL within LATENCY=0.5 [SIZE= BOPS= ...]; docs/allocation.md
	@$(RUN) allocate "$(MODEL)" $(if $(LUT),--lut "$(LUT)",--device "$(GPU)" --in "$(OUT)") --precisions "$(PRECISIONS)" \
		$(if $(LATENCY),--max-latency "$(LATENCY)") $(if $(SIZE),--max-size "$(SIZE)") $(if $(BOPS),--max-bops "$(BOPS)") \
		$(if $(ENERGY),--max-energy "$(ENERGY)") $(if $(MEMORY),--max-memory "$(MEMORY)") \
		$(if $(SENSITIVITY),--sensitivity "$(SENSITIVITY)") $(if $(KEEP),--keep "$(KEEP)") $(if $(SCOPE),--scope "$(SCOPE)") \
		$(if $(PREDICTOR),--predictor "$(PREDICTOR)") $(if $(CONFIDENCE),--confidence "$(CONFIDENCE)") \
		$(if $(BATCH),--batch "$(BATCH)") $(if $(PARETO),--pareto "$(PARETO)") $(if $(PLOT),--plot "$(PLOT)") \
		-o "$(or $(FILE),bits.json)" $(FLAGS)

# What an integer-only network is made of, and what runs it. A file that quantize wrote (.npz) has its bits in it.
BITS_FLAGS = $(if $(BITS),--bits "$(BITS)") $(if $(UNIFORM),--uniform "$(UNIFORM)")
QUANTIZER_FLAGS = $(BITS_FLAGS) $(if $(CALIBRATE),--calibrate "$(CALIBRATE)") $(if $(RANGES),--ranges "$(RANGES)") \
	$(if $(CLIPPING),--clipping "$(CLIPPING)") $(if $(BATCH),--batch "$(BATCH)")
RUNNER_FLAGS = --device "$(GPU)" --cache "$(CACHE)" $(if $(LUT),--lut "$(LUT)",--in "$(OUT)")
require_bits = @[ -n "$(BITS)$(UNIFORM)$(strip $(ARGS))$(filter %.npz,$(MODEL))" ] || \
	{ echo "error: say which bits: make $@ BITS=bits.json, or UNIFORM=int8" >&2; exit 2; }

quantize: $(VENV)/.base $(EXTRA) ## write MODEL in integers only, as FILE=net.npz: BITS=bits.json or UNIFORM=int8; docs/network.md
	$(require_bits)
	@$(RUN) quantize "$(MODEL)" $(QUANTIZER_FLAGS) $(if $(LUT),--lut "$(LUT)") -o "$(or $(FILE),net.npz)" $(FLAGS) $(ARGS)

run: $(VENV)/.base $(EXTRA) $(CUDA_EXTRA) ## run MODEL in integers only, end to end: verified bit for bit, timed, beside the sum of its kernels
	$(require_bits)
	@$(RUN) run "$(MODEL)" $(QUANTIZER_FLAGS) $(RUNNER_FLAGS) $(FLAGS) $(ARGS)

throughput: $(VENV)/.base $(EXTRA) $(CUDA_EXTRA) ## images per second of MODEL over BATCHES, and the knee: [UNIFORM=int8] [ENERGY=1]; docs/throughput.md
	@$(RUN) throughput "$(MODEL)" $(if $(BATCHES),--batches "$(BATCHES)") $(BITS_FLAGS) \
		$(if $(CALIBRATE),--calibrate "$(CALIBRATE)") $(if $(RANGES),--ranges "$(RANGES)") \
		$(if $(CLIPPING),--clipping "$(CLIPPING)") $(if $(TRIALS),--trials "$(TRIALS)") $(if $(ENERGY),--energy) \
		$(if $(CUDA),--cuda "$(CUDA)") $(RUNNER_FLAGS) $(if $(FILE),-o "$(FILE)") $(if $(PLOT),--plot "$(PLOT)") $(FLAGS) $(ARGS)

evaluate-accuracy: $(VENV)/.base $(EXTRA) ## count what MODEL answers right of IMAGES=test.npz, in float and in integers; docs/accuracy.md
	@[ -n "$(IMAGES)" ] && [ -n "$(CALIBRATE)" ] || { echo "error: say which images:" \
		"make evaluate-accuracy MODEL=model.onnx IMAGES=test.npz CALIBRATE=train.npz" >&2; exit 2; }
	@$(RUN) evaluate-accuracy "$(MODEL)" --images "$(IMAGES)" $(QUANTIZER_FLAGS) $(RUNNER_FLAGS) \
		$(if $(PLOT),--plot "$(PLOT)") $(FLAGS) $(ARGS)

finetune: $(VENV)/.base $(EXTRA) ## train MODEL=FILE.pt2 on with the roundings of BITS or UNIFORM, with IMAGES=train.npz; docs/accuracy.md
	@[ -n "$(IMAGES)" ] && [ -n "$(filter %.pt2,$(MODEL))" ] && [ -n "$(BITS)$(UNIFORM)" ] || { echo "error: say what:" \
		"make finetune MODEL=model.pt2 IMAGES=train.npz UNIFORM=int4 FILE=tuned.pt2" >&2; exit 2; }
	@$(RUN) finetune "$(MODEL)" --images "$(IMAGES)" $(BITS_FLAGS) -o "$(or $(FILE),tuned.pt2)" $(FLAGS) $(ARGS)

# The network is the one that was profiled last, or that the table knows most of, unless MODEL says which.
report: $(VENV)/.base $(EXTRA) ## show what was measured: figures, tables and an HTML page in reports/<device>/; docs/report.md
	@$(RUN) report $(if $(filter file,$(origin MODEL)),,"$(MODEL)") $(if $(LUT),--lut "$(LUT)",--device "$(GPU)") \
		--in "$(OUT)" --precisions "$(PRECISIONS)" $(if $(BATCH),--batch "$(BATCH)") $(if $(LOGS),--logs "$(LOGS)") \
		$(if $(BITS),--bits "$(BITS)") $(if $(SENSITIVITY),--sensitivity "$(SENSITIVITY)") \
		$(if $(THROUGHPUT),--throughput "$(THROUGHPUT)") $(if $(TO),--out "$(TO)") $(FLAGS)

compare: $(VENV)/.base ## compare two tables A=lut/x.csv B=lut/y.csv: faster, slower, same or ambiguous; docs/compare.md
	@[ -n "$(A)" ] && [ -n "$(B)" ] || { echo "error: say which two: make compare A=lut/x.csv B=lut/y.csv" >&2; exit 2; }
	@$(RUN) compare "$(A)" "$(B)" $(if $(MARGIN),--margin "$(MARGIN)") $(if $(NOISE),--noise "$(NOISE)") \
		$(if $(TO),--out "$(TO)") $(FLAGS)

kernels: $(VENV)/.base $(BUILD_EXTRA) $(EXTRA) ## build the kernels of MODEL for a GPU model or Arm into kernels/<device>/; needs neither
	@$(RUN) kernels "$(MODEL)" --device "$(if $(filter auto,$(GPU)),t4,$(GPU))" --precisions "$(PRECISIONS)" \
		$(if $(BATCH),--batch "$(BATCH)") $(if $(CONFIGS),--configs "$(CONFIGS)") $(if $(CUDA),--cuda "$(CUDA)") \
		--out "$(OUT)" $(FLAGS)

bundle: $(VENV)/.base $(BUILD_EXTRA) $(EXTRA) ## pack a run of MODEL for a GPU or an Arm CPU elsewhere into FILE=run.zip
	@$(RUN) bundle "$(MODEL)" --device "$(if $(filter auto,$(GPU)),t4,$(GPU))" --precisions "$(PRECISIONS)" --cache "$(CACHE)" \
		$(if $(BATCH),--batch "$(BATCH)") $(if $(CONFIGS),--configs "$(CONFIGS)") $(if $(CUDA),--cuda "$(CUDA)") \
		$(foreach network,$(NETWORKS),--network "$(network)") $(if $(LUT),--lut "$(LUT)") \
		$(if $(ENERGY),--energy) -o "$(or $(FILE),run.zip)"

ingest: $(VENV)/.base ## take over what a bundle measured: FILE=results.jsonl
	@$(RUN) ingest "$(or $(FILE),results.jsonl)" --out "$(OUT)"

doctor: $(VENV)/.base ## say what is missing for profile GPU=..., and what mends it
	@$(RUN) doctor --device "$(GPU)" --out "$(OUT)" $(FLAGS)

devices: $(VENV)/.base ## list what can be measured on this machine
	@$(RUN) devices $(FLAGS)

lut-check: $(VENV)/.base ## say what is wrong with the LUT file LUT=...
	@$(RUN) lut check "$(LUT)" $(FLAGS)

# All tests: two at a time, then those that need the machine for themselves. With ARGS: just what they say.
PYTEST = @$(if $(strip $(ARGS)),$(VENV)/bin/python -m pytest $(ARGS),\
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not gpu and not alone" && \
	$(VENV)/bin/python -m pytest -m "alone and not gpu")

test: preflight-tests $(VENV)/.dev $(if $(findstring gpu,$(ARGS)),$(CUDA_EXTRA)) ## run the tests
	$(PYTEST)

test-pycuda: preflight-tests $(VENV)/.dev ## build PyCUDA and run the tests of our use of it, on a stand-in for the driver
	@$(PIP) -r requirements/cuda.txt
	@$(VENV)/bin/python -m profiler.environment.pycuda_wheel
	@$(VENV)/bin/python -m pytest tests/devices/test_pycuda_driver.py $(ARGS)

check: preflight-tests $(VENV)/.dev ## lint, types and tests
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy
	$(PYTEST)

bench: $(VENV)/.dev $(if $(findstring int_mm,$(ARGS)),$(CUDA_EXTRA) $(VENV)/.torch) ## compare layers with ONNX Runtime, time search and builds, compare the GPU model with published latencies
	@$(VENV)/bin/python -m bench $(ARGS)

clean: ## remove the virtual environment and what this machine measured and built (recorded and published LUTs stay)
	rm -rf $(VENV) tuning_logs/* lut/*.csv lut/*.model.json lut/*.throughput.json lut/*.windows.jsonl kernels

preflight:
	@[ "$$(uname -s)" = Linux ] && { [ "$$(uname -m)" = x86_64 ] || [ "$$(uname -m)" = aarch64 ]; } || \
		{ echo "error: this needs Linux on x86-64 or aarch64, not $$(uname -s) on $$(uname -m)" >&2; exit 2; }
	@[ -n "$(PYTHON)" ] || { echo "error: no Python 3.10 to 3.13 found; install one, or say PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo "error: $(PYTHON) is not Python 3.10 to 3.13; say PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "error: $(PYTHON) has no venv module; install it (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || \
		{ echo "error: no C compiler; install one (Debian: apt-get install gcc libc6-dev)" >&2; exit 2; }

preflight-tests:
	@command -v g++ >/dev/null || command -v c++ >/dev/null || command -v clang++ >/dev/null || \
		{ echo "error: the tests run CUDA kernels in an emulator, which needs a C++ compiler; install one" \
		"(Debian: apt-get install g++)" >&2; exit 2; }

$(VENV)/bin/python: | preflight
	@$(PYTHON) -m venv $(VENV)

PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# Stamps: an environment is as new as the files that say what is in it.
$(VENV)/.base: requirements/base.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) ..."
	@$(PIP) -r requirements/base.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@$(PIP) -r requirements/dev.txt
	@touch $@

$(VENV)/.cubin: requirements/cubin.txt $(VENV)/.base
	@$(PIP) -r requirements/cubin.txt
	@touch $@

$(VENV)/.arm: requirements/arm.txt $(VENV)/.base
	@$(PIP) -r requirements/arm.txt
	@touch $@

# PyCUDA itself is built from source, with our options; requirements/cuda.txt has what it needs. Without it a run that
# was not asked for a GPU goes on with the CPU, and says so.
$(VENV)/.cuda: requirements/cubin.txt requirements/cuda.txt $(VENV)/.base
	@$(PIP) -r requirements/cubin.txt -r requirements/cuda.txt
	@if $(VENV)/bin/python -m profiler.environment.pycuda_wheel; then touch $@; else [ "$(GPU)" = auto ]; fi

$(VENV)/.fleet: requirements/fleet.txt $(VENV)/.base
	@$(PIP) -r requirements/fleet.txt
	@touch $@

$(VENV)/.torch: requirements/torch.txt $(VENV)/.base
	@$(PIP) -r requirements/torch.txt
	@touch $@
