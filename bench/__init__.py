"""Performance claims, measured: `make bench` prints every figure that the README quotes.

- `peers`    the same layers in ONNX Runtime
- `samples`  of a layer on both sides, on the same CPUs
- `layers`   our tuned INT8 layers against the peer, interleaved, one ratio per layer
- `low_bits` whole fused 3x3 layers below eight bits against our INT8, and that against the peer, in one run. What
  the innermost instructions alone allow is in `core_rates`
- `network`  whole INT8 networks against the peer, interleaved, one ratio per network and batch. The peer's model is
  made by `network_peer`
- `search`   seconds per trial, and trials until within 5% of the best of the whole space
- `builds`   CUDA kernels built per second, from schedule to cubin, with nothing cached
- `published` the analytic model of a T4 beside HAWQ-V3's published latencies: rank correlation per precision
- `predictor` what the latency predictor reaches on real rows, beside plain baselines
- `allocation` seconds to the proven optimum on random networks, beside SciPy's milp on the textbook's model. The
  networks are made by `allocation_problems`, the peer is `allocation_peer`

On demand, since they need two LUTs, or a GPU:

- `repeat`   two LUTs of the same kernels: how well a measurement repeats
- `int_mm`   our tuned INT8 products against `torch._int_mm` on the same card, interleaved, one ratio per layer
- `gemm_layers`  which layers those are. `torch_product`  torch's side of it
"""
