"""Latencies of schedule configs: what the search chooses by.

- `prediction`      what a model says: a median and how far it may be off
- `features`        numbers that describe a kernel and a config (`cpu_features`, `gpu_features`), and the model that
                    they correct
- `analytic`        the analytic model, with its level taken from what was measured
- `learned`         the analytic model, corrected by a regression (`gaussian_process`) on what was measured
- `ranking`         all configs of a kernel, best first
- `thinning`        fewer of many

Both models keep `tuning.cost_model.CostModel`; one conformance suite (tests/predictor) runs over them.
"""
