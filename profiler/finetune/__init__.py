"""Quantization-aware fine-tuning, through PyTorch: weights that lose less where they are rounded.

- `fake_quantized`  the integer network as a torch module in real numbers, with gradients through its roundings
- `training`        the loop
- `weights_file`    the weights found, written back into the user's exported program

Importing the room does not import torch.
"""
