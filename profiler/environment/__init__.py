"""What this machine has for measuring, and how it gets what it lacks.

- `pycuda_wheel`: PyCUDA, built from its source without a CUDA toolkit.
- `doctor`: what is there for `make profile GPU=...`, what is missing, and what mends it. `check_*`: its points.
  `machine`: what they look at. `findings`: what they say.
- `cuda_probe`, `import_probe`: questions that may crash, asked in processes of their own.
"""
