"""Latencies of what was not measured. The only room that knows scikit-learn and SciPy.

Of kernels (what a LUT has rows of):

- `latency_model`   the model of a device: for any kernel a latency, an interval, and which kind of answer it is
- `observation`, `estimate`, `model_state`  what goes in, what comes out, what a model consists of
- `device_facts`, `roofline`, `kernel_features`  what is known of a device, and what a regression sees of a kernel
- `regressors`, `selection`  the regressions, and the choice among them by grouped cross-validation
- `conformal`, `sums`, `envelope`  intervals, of sums too, and the range of what was seen
- `kernel_only`     the view of tables that hold bare kernels
- `model_codec`, `model_file`  a fitted model as text and as a file
- `population`, `proposals`  workloads as networks have them, and which of them to measure next
- `validation`      how good a model is on what it has not seen

Of schedule configs (what the search chooses from): `configs`.
"""
