"""Latency profiler and autotuner for low-bit neural networks: measured, verified bit for bit.

The rooms, lowest first; a room imports only from those above it in this list (tests/test_architecture.py):

- `errors`, `units`, `workload`, `hardware`, `cuda_versions`, `statistics`, `output_folder`, `typed_json`: words,
  numbers, facts, files
- `quantize`     integer semantics in NumPy: oracle, packing, samples
- `artifact`, `record`: a compiled kernel; what was measured
- `frontend`     models to networks
- `space`        schedule configs, their validity, the analytic model
- `kernels`      templates and compilation (the only room that knows TVM)
- `devices`      what runs kernels: the host CPU, NVIDIA's GPUs, recorded measurements
- `lut`          the latency lookup table
- `sensitivity`  what fewer bits cost a layer: files, weights, the loss's Hessian
- `measure`      the timed window
- `predictor`    regression on records (the only room that knows scikit-learn)
- `allocation`   bits per layer within limits (the only room that knows HiGHS)
- `targets`      what kernels are built for: compiler, valid configs, facts of the device
- `throughput`   what networks do in steady state over batches, and the knee
- `tuning`       search, journals, tuner
- `export`       bits.json for other tools: HAWQ, CSV, ONNX
- `report`       figures (the only room that knows matplotlib)
- `environment`  what this machine has and lacks: the doctor; PyCUDA built from source
- `kernel_library`: the kernels of a network for a GPU, without one
- `bundle`       compile here, measure there, bring the records back
- `pipeline`     the stages as functions of files; `doubts`: what should make a reader doubt a table
- `fleet`        `profile` on many machines (the only room that knows Dask)
- `sampling`, `prediction_stages`, `allocation_stages`: what to measure next; stages of predictor and allocation
- `cli`          the command line
"""

__version__ = "0.1.0"
