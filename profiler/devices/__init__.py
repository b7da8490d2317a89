"""Where kernels run. This room sees artifacts, never their compiler.

- `protocol`: what every device can do, and how a kernel's misbehaviour is reported.
- `host`: the host CPU; kernels run in a worker process that a crash or a hang takes down alone.
- `host_worker`: that process. `pipe`: how the two speak. `buffers`: the memory that kernels work on.
- `host_state`: what else went on on the machine: load, clock, temperature, stolen time.
- `replay`: a device that answers from what was recorded.
- `discover`: what can be measured here, and which device a user means.
"""
