"""An allocation for the tools that deploy or train it: `bits.json` in other people's formats.

- ``hawq``: HAWQ's bit_config dictionary
- ``table``: CSV
- ``qdq``: the user's ONNX model with QuantizeLinear and DequantizeLinear (needs onnx)
- ``stage``: from files to a file

Importing this package imports neither onnx nor NumPy.
"""
