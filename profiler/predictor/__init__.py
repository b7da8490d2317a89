"""Latencies of what was not measured. The only room that knows scikit-learn.

- `prediction`  what a model says: a median and how far it may be off
- `features`    numbers that describe a kernel and a schedule config (`cpu_features`, `gpu_features`), and the model
                that they correct
- `analytic`    the analytic model, with its level taken from what was measured
- `learned`     the analytic model, corrected by a regression on what was measured

Both models keep `tuning.cost_model.CostModel`; one conformance suite (tests/predictor) runs over them.
"""
