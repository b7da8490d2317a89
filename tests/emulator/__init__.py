"""A GPU for tests: CUDA kernels compiled as host C++ and run thread by thread, every memory access checked.

- `rewrite`  the text of a kernel to host C++
- `build`    host C++ to a loaded library, many kernels at a time
- `launch`   run one, in either order of its threads; `Fault`
- `verify`   against the integer oracle
- `shim.h`, `runtime.cpp`  what the kernels are compiled against: pointers that check, fibers, warp operations
"""

from tests.emulator.build import compile_kernels
from tests.emulator.launch import Fault, Order
from tests.emulator.rewrite import NotEmulated
from tests.emulator.verify import emulate, verify, verify_all

__all__ = ["Fault", "NotEmulated", "Order", "compile_kernels", "emulate", "verify", "verify_all"]
