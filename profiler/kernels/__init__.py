"""Kernels: templates and their compilation into artifacts. The only room that knows TVM.

- `cpu`         CPU templates, LLVM through TVM, shared objects
- `cuda`        CUDA templates, CUDA source through TVM, cubins through NVRTC or nvcc
- `tir`         TIR in a few words, for templates of any target
- `arguments`   what every kernel of a spec takes, whatever it is compiled for
- `check`       how a kernel is proven right: arguments and the digest of what must come out
- `backend`     what a pool compiles with, as a value; keys of the cache
- `pool_build`  artifacts from worker processes, failures as records
- `cache`       artifacts on disk, found again by what they were made of
"""
