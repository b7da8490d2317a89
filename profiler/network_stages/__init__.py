"""From files to a network that runs. The command line calls these.

- `quantize`  a trained network as integers, in a file
- `run`       one choice of bits: quantized, compiled, verified, timed, beside the sum of its kernels
- `sweep`     several, and the calibration that leads from sums to networks
- `throughput`  networks in steady state over batches, with the rows that they need
- `noise_sensitivity`  what each layer in few bits does to the outputs, as a sensitivity file
- `accuracy`  how many images the float network and integer ones answer right
- `finetune`  a model that was trained on with the roundings in
- `trained` `deployments` `kernels_of` `in_turn` `windows`  what these need: weights and ranges, bits, compiled kernels,
  rounds of timing, windows of steady state
"""
