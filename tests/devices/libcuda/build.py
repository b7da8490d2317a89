"""Compile the fake driver (`libcuda.c`) for the PyCUDA that is installed."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path


def compile_libcuda(folder: Path) -> Path:
    """``libcuda.so.1`` in that folder, for LD_LIBRARY_PATH.

    Python binds every symbol of a module when it loads it, so whatever PyCUDA mentions has to be there; what
    `libcuda.c` does not have is "not supported".
    """
    found = find_spec("pycuda")
    assert found is not None
    assert found.origin is not None
    (module,) = Path(found.origin).parent.glob("_driver.*.so")
    names = sorted(set(re.findall(rb"(?<=\0)cu[A-Z]\w+(?=\0)", module.read_bytes())))
    rest = folder / "rest.c"
    rest.write_text("".join(f"int __attribute__((weak)) {name.decode()}(void) {{ return 801; }}\n" for name in names))
    library = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wl,-soname,libcuda.so.1", "-o", str(library)]
    subprocess.run([*command, str(Path(__file__).with_name("libcuda.c")), str(rest)], check=True)
    return library
