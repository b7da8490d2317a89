"""Integer-only reference of every kernel, in NumPy: what a kernel is given, how it lies in memory, what must come out.

- `dyadic`: requantization by multiplier / 2**shift, and the choice of that pair for a real scale.
- `operands`: names, shapes and types of a kernel's logical arguments, in call order.
- `oracle`: the exact output of a `KernelSpec` for given arguments.
- `stored`: how tensors lie in memory: bytes, nibbles, planes.
- `packing`: the kinds of layouts of parameters; `packed_weights` and `packed_arguments` lay them out (`padding`).
- `whole_bytes`: where channels of fewer than 8 bits meet the bounds of bytes.
- `spare_bits`: what of a pixel's end belongs to no channel, and who clears it.
- `planes`: tensors of less than four bits as bit planes.
- `lookup`: parameters of kernels that look sums up: indices and thresholds.
- `popcount`: weights of kernels that count shared bits.
- `bit_mma`: weights, and what they add to the bias, of kernels on binary tensor cores.
- `samples`: arguments drawn from a seed, and the output (and its digest) that a kernel must produce from them.
"""
