"""Schedule configs: what a kernel template lets one choose, and which choices are valid.

- `config`  the configs of each template, and their text form
- `cpu`     the config space of a kernel on a CPU
- `model`   the analytic performance model of a config on a CPU: prior of the search, never a measurement
"""
