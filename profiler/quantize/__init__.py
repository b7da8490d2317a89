"""Integer-only reference of every kernel, in NumPy: what a kernel is given, how it lies in memory, what must come out.

- `dyadic`: requantization by multiplier / 2**shift, and the choice of that pair for a real scale.
- `operands`: names, shapes and types of a kernel's logical arguments, in call order.
- `oracle`: the exact output of a `KernelSpec` for given arguments.
- `packing`: how arguments and outputs lie in memory: nibbles, and the layouts of parameters.
- `samples`: arguments drawn from a seed, and the output (and its digest) that a kernel must produce from them.
"""
