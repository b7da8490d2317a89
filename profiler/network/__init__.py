"""A whole network in integers: what it computes, and how it is run.

- `integer_network`  values, steps and their parameters: the network as kernels see it
- `ranges`           what of each activation a quantizer has to hold
- `float_run` `float_layers` `pool_counts` `features`  the same network in real numbers, with folded weights
- `calibrate` `histogram`  ranges, from the activations of a user's images
- `images` `image_files` `random_weights` `answers`  what goes in, a user's or drawn; what comes out, counted
- `real_numbers`     from real inputs to integers, and from integers to real values
- `integer_file`     an integer network as a file, which `quantize` writes
- `quantized` `integer_weights`  from real weights, ranges of activations and chosen bits to an integer network
- `oracle_run`       what it computes, by NumPy integer arithmetic: the truth that devices are compared with
- `changed_run`      the same of a network that is like another one but for a few steps, from there on
- `noise` `layer_noise`  how far its outputs are from those of the float network; and those of many like it
- `plan` `memory`    where values and parameters lie, and what each compiled kernel gets as arguments
- `execute`          a plan in a process of its own, and the loop that times it: what travels to other machines
- `device_network`   a network on a device: every step compared with the oracle; `difference` says where one is not
- `steady`          windows in which it runs back to back, and what they take
- `host_run` `cuda_run`  the devices: this machine's CPU, and an NVIDIA GPU
"""
