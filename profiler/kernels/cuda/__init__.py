"""Kernels of an NVIDIA GPU.

- `lower`           a spec and a config to CUDA source with its launch and arguments
- `template`        what a template gives: launch, layout of parameters, body
- `mma`             template: convolution and dense on tensor cores (parts: `mma_load`, `mma_tile`, `mma_fragments`,
                    `mma_planes`, `mma_split`, `mma_epilogue`, `mma_output_tile`)
- `simt_depthwise`  template: depthwise convolution
- `simt_direct`     template: convolution and dense of any groups and widths
- `simt_vector`     template: additions, conversions, concatenation, and pools (`simt_pool`)
- `simt_epilogue`   what the templates without tensor cores end with
- `rows`            tensors as their threads read and write them: blocks of channels; `plane_rows` those in bit planes
- `work_items`      how their threads share the work
- `codegen`         a TIR function to CUDA source, through TVM
- `*.h`             the device functions that templates call
- `compiler`        choice among `nvrtc` and `nvcc`; `cubin` is what they make
- `sass`            instruction counts from the text of `nvdisasm`
- `build`           a spec and a config to an artifact
"""
