"""From kernel specs to measured winners: search, build, measure, remember.

- `cost_model`  what the search needs to know of a model of latencies
- `search`      which configs to try next
- `database`    the journals ``tuning_logs/<device>/<workload>.jsonl``: what was tried, by whomever
- `workbench`   builds and measures batches, in turns
- `events`      what a tuner tells while it works
- `tuner`       the loop over kernels
- `energies`    joules of the winners
- `efficiency`  how few trials a search needs, against a sweep of the space
"""
