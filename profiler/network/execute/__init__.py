"""A planned network in a process of its own: what of `network` travels to a machine without a compiler.

- `planned`     where values and parameters lie, and what each kernel gets: a plan, as values
- `loading`     what both workers are given: plan, parameters and artifacts as one request, inputs
- `process`     the process in which it runs, from this side: inputs, steps, runs, times
- `network_worker`  the same process from inside, as far as devices are alike
- `host_worker` what it is on a CPU
- `host_watch`  how that one is started, which kernels it can run, and what is seen of the CPU
- `cuda_worker` what it is on a GPU; `cuda_network` (memory, code, launches), `cuda_times` (graphs, marks, events)
- `cuda_watch`  what NVML tells of that GPU, and what is done about it
- `times`       how the timed runs are drawn, and what comes of them
- `timed`       a network that is timed while something watches the device
"""
