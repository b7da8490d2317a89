"""Compile here, measure there, bring the records back.

    home                                      the box                                 home
    model -> pack -> run.zip  ==>   python3 run.zip -o results.jsonl  ==>   ingest -> tuning_logs/, lut/

- `pack`    the zip: `box` with exactly the modules that it needs, the artifacts, the manifest, wheels on request
- `networks` `network_kernels`  whole networks to be run there: plans, bytes and digests of the truth; their kernels
- `closure` which modules those are, read from the imports
- `download` the wheels
- `ingest`  what came back, verified line by line, into journals and LUT; `end_to_end_file`: latencies of networks
- `box`     what travels: Python 3.8 and NumPy (PyCUDA and pynvml on a GPU) are all that it needs
"""
