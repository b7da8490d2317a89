"""How good a latency model is on what it has not seen.

- `splits`    what is held out: workloads at random, a network, the largest
- `baselines` plain models that it has to beat
- `metrics`   errors, coverage, ratios, sums, noise
- `validate`  fits and judges, split by split
- `report`    what was found, as values; `report_json`, `report_text` show it
"""
