"""Kernels of an NVIDIA GPU.

- `mma`          template: convolution and dense on tensor cores
- `lower`        a spec and a config to CUDA source with its launch and arguments
- `codegen`      a TIR function to CUDA source, through TVM
"""
