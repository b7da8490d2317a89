"""What this machine has for measuring, and how it gets what it lacks.

- `pycuda_wheel`: PyCUDA, built from its source without a CUDA toolkit.
"""
