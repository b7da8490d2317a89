"""Kernels of a CPU.

- `target`       the LLVM target of a CPU
- `emit`         TIR building blocks: vectors, dyadic requantization, views on activations
- `dot_product`  one step of a dot product on each instruction set
- `dot`          template: convolution and dense on dot-product instructions
- `depthwise`    template: depthwise convolution
- `elementwise`  templates: residual addition, concatenation, conversion
- `pool`         templates: max and average pooling
- `lower`        a spec and a config to a TIR function with its arguments
- `build`        a TIR function to a shared object with its check: the artifact
"""
