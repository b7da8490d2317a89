"""Where kernels run. This room sees artifacts, never their compiler.

- `protocol`: what every device can do, and how a kernel's misbehaviour is reported.
- `kernel_process`: a worker process with loaded kernels, which a crash or a hang takes down alone; `worker_loop`: the
  same from inside. `pipe`: how the two speak. `arguments`: what kernels run on, and what must come out.
- `host`: the host CPU. `host_worker`: its process, with `host_work` (launches back to back). `buffers`: the memory that
  kernels work on. `rapl`: its energy counters.
- `rotation`: how launches back to back find evicted what their cache mode wants evicted.
- `cuda`: an NVIDIA GPU. `cuda_worker`: its process, with `cuda_kernel` (load, verify), `cuda_memory`, `cuda_timing`
  (the timed window), `cuda_work` (launches back to back), `cuda_batches` (behind a spinning kernel) and `cuda_probes`
  (small kernels beside the timed one). `cuda_errors`: what errors mean.
- `cuda_driver`: what is wanted of a CUDA driver; `pycuda_driver`: the real one,
  with `cuda_graphs` (from `graphs_package`).
- `nvml`: access to NVIDIA's management library; `gpu_facts`, `gpu_state`, `gpu_monitor`: what it tells of a card;
  `clock_lock`: the one thing that is set, on request. `gpu_spec`: what models need to know of a card.
- `host_state`: what else went on on the machine: load, clock, temperature, stolen time.
- `replay`: a device that answers from what was recorded.
- `discover`: what can be measured here, and which device a user means.
"""
