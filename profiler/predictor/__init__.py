"""Latencies of what was not measured. The only room that knows scikit-learn and SciPy.

Of kernels (what a LUT has rows of):

- `latency_model`   the model of a device: for any kernel a latency, an interval, and which kind of answer it is
- `observation`, `estimate`, `model_state`  what goes in, what comes out, what a model consists of
- `device_facts`, `roofline`, `kernel_features`  what is known of a device, and what a regression sees of a kernel
- `regressors`, `selection`  the regressions, and the choice among them by grouped cross-validation
- `conformal`, `sums`, `envelope`  intervals, of sums too, and the range of what was seen
- `kernel_only`     the view of tables that hold bare kernels
- `model_codec`, `model_file`  a fitted model as text and as a file
- `splits`, `baselines`, `metrics`, `validation`, `validation_report`  how good a model is on what it has not seen
- `population`, `proposals`  workloads as networks have them, and which of them to measure next

Of schedule configs (what the search chooses from):

- `prediction`      what a model says: a median and how far it may be off
- `features`        numbers that describe a kernel and a config (`cpu_features`, `gpu_features`), and the model that
                    they correct
- `analytic`        the analytic model, with its level taken from what was measured
- `learned`         the analytic model, corrected by a regression (`gaussian_process`) on what was measured
- `ranking`         all configs of a kernel, best first

Both models of configs keep `tuning.cost_model.CostModel`; one conformance suite (tests/predictor) runs over them.
"""
