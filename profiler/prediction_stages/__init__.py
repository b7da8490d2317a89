"""Fitting, asking and testing latency models, as functions of files. The command line calls these.

- `fit`      LUT -> model, validated
- `logs`     what tuning logs add: latencies of schedule configs, and kernels that were measured twice
- `predict`  model, network or list of kernels -> latencies
- `configs`  model, kernels -> their best schedule configs
- `evaluate` model, other LUT -> how good it is there
"""

NETWORKS = ("resnet18", "resnet50", "inceptionv3")
"""Held out in turn, where rows tell of them."""
