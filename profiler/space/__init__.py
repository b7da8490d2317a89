"""Schedule configs: what a kernel template lets one choose, and which choices are valid.

- `config`      the configs of each template, and their text form

CPU:

- `cpu`         the config space of a kernel
- `dot_plan`    geometry of convolution and dense on dot products
- `lookup_plan` the same of kernels that look sums up, `popcount_plan` of those that count bits
- `model`       the analytic performance model of a config: prior of the search, never a measurement
- `cpu_default` about the best config by that model

GPU:

- `gpu_limits`  which configs a device and the templates admit, and why not
- `gpu`         the config space of a kernel: what is admitted, less what is dominated
- `mma_plan`    geometry of convolution and dense on tensor cores
- `simt_plan`   how the other templates divide their work
- `occupancy`   resident blocks of an SM
- `registers`   estimates ahead of compiling
- `gpu_model`   the analytic performance model, and the limit; of its parts, `block_cost` has the grid, `mma_model` and
  `simt_model` what one block costs
"""
