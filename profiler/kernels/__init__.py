"""Kernels: templates and their compilation into artifacts. The only room that knows TVM.

- `cpu`         CPU templates, LLVM through TVM, shared objects
- `cuda`        CUDA templates, CUDA source through TVM, cubins through NVRTC or nvcc
- `pool_build`  artifacts from worker processes, failures as records
"""
