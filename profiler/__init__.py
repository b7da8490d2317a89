"""Latency profiler and autotuner for low-bit neural networks: measured, verified bit for bit.

The rooms, lowest first; a room imports only from those above it in this list (tests/test_architecture.py):

- `errors`, `units`, `workload`, `hardware`, `statistics`: words, numbers, facts
- `quantize`     integer semantics in NumPy: oracle, packing, samples
- `artifact`, `record`: a compiled kernel; what was measured
- `frontend`     models to networks
- `space`        schedule configs, their validity, the analytic model
- `kernels`      templates and compilation (the only room that knows TVM)
- `devices`      what runs kernels: the host CPU, recorded measurements
- `lut`          the latency lookup table
- `measure`      the timed window
- `predictor`    regression on records (the only room that knows scikit-learn)
- `tuning`       search, journals, tuner
- `pipeline`     the stages as functions of files
- `cli`          the command line
"""

__version__ = "0.1.0"
