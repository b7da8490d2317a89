"""Kernels of a CPU.

- `target`       the LLVM target of a CPU
- `emit`         TIR building blocks: vectors, dyadic requantization, views on activations
- `dot_product`  one step of a dot product on each instruction set
- `dot`          template: convolution and dense on dot-product instructions
- `lookup`       template: convolution and dense with weights of one to three bits (parts: `lookup_stage`,
                 `byte_shuffle`, sixteen-entry tables on each instruction set)
- `popcount`     template: the same with few planes, where bits of wide words can be counted
- `tiles`        the loops around the register tiles of both
- `finish`       what follows the sums of all three; `comparison` where thresholds stand for it
- `planes`       masks and bits, tensors in bit planes
- `depthwise`    template: depthwise convolution
- `elementwise`  templates: residual addition, concatenation, conversion
- `pool`         templates: max and average pooling
- `stage`        an image copied to bytes, padded or gathered
- `lower`        a spec and a config to a TIR function with its arguments
- `build`        a TIR function to a shared object with its check: the artifact; `c_compiler` links it
"""
