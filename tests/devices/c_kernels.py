"""Small kernels in plain C as artifacts, without TVM. All of them are a 2x2 max pool, or pretend to be one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

import profiler
from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.quantize.packing import Packing
from profiler.quantize.samples import expected_sha256
from profiler.workload import DType, KernelSpec, Op, Workload

RUNTIME = Path(profiler.__path__[0]) / "kernels" / "cpu" / "runtime.c"
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-pthread")

SPEC = KernelSpec(
    Workload(Op.MAX_POOL, 1, 16, 16, 32, 32, kernel_h=2, kernel_w=2, stride_h=2, stride_w=2), DType.INT8, DType.INT8
)

_SOURCE = """
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static void pool(void** args) {
    const int8_t* x = args[0];
    int8_t* y = args[1];
    for (int h = 0; h < 8; ++h) for (int w = 0; w < 8; ++w) for (int c = 0; c < 32; ++c) {
        int8_t best = -128;
        for (int i = 0; i < 2; ++i) for (int j = 0; j < 2; ++j) {
            int8_t v = x[((2 * h + i) * 16 + 2 * w + j) * 32 + c];
            if (v > best) best = v;
        }
        y[(h * 8 + w) * 32 + c] = best;
    }
}
typedef struct { void* sync_handle; int32_t num_task; } Env;
int TVMBackendParallelLaunch(int (*f)(int, Env*, void*), void*, int);
int TVMBackendParallelBarrier(int, Env*);
"""

BODIES = {
    "right": "pool(a);",
    "prints": 'pool(a); printf("noise"); fflush(stdout); fprintf(stderr, "noise\\n"); write(1, "more", 4);',
    "slow": "pool(a); struct timespec t = {0, 2000000}; nanosleep(&t, 0);",
    "hangs": "for (;;) pause();",
    "spins": "for (volatile int i = 1; i;) {}",
    "segfaults": "*(volatile int*)8 = 1;",
    "aborts": "abort();",
    "illegal": "__builtin_trap();",
    "exits": "exit(3);",
    "exits_with_0": "_exit(0);",
    "killed": "kill(getpid(), SIGKILL);",
    "wrong": "pool(a); ((int8_t*)a[1])[17] ^= 1;",
    "tires": "static int calls; pool(a); if (++calls > 3) ((int8_t*)a[1])[17] ^= 1;",
    "creeps": "static int calls; pool(a); if (++calls > 3) ((int8_t*)a[1])[2048] = calls;",
    "unfinished": "(void)a;",
    "accumulates": "int8_t* y = a[1]; int8_t old = y[9]; pool(a); y[9] += old;",
    "behind_output": "pool(a); ((int8_t*)a[1])[2048] ^= 1;",
    "ahead_of_output": "pool(a); ((int8_t*)a[1])[-1] ^= 1;",
    "far_behind_workspace": "pool(a); ((int8_t*)a[2])[128 + 4000] ^= 1;",
    "into_input": "pool(a); ((int8_t*)a[0])[5] ^= 1;",
    "uses_workspace": "memset(a[2], 1, 128); pool(a);",
    "aligned": "for (int i = 0; i < 3; ++i) if ((uintptr_t)a[i] % 64) abort(); pool(a);",
}
"""What `entry(void** a)` does, by name."""


def needs_compiler() -> None:
    """Skip the test where there is no C compiler."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc)")


@cache
def code(body: str, extra: str = "", runtime: bool = True, flags: tuple[str, ...] = ()) -> bytes:
    """A shared object whose ``entry`` is that C text."""
    needs_compiler()
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
        source.write_text(f"{_SOURCE}\n{extra}\nvoid entry(void** a) {{ {body} }}\n")
        sources = [str(source), *([str(RUNTIME)] if runtime else [])]
        command = ["cc", *FLAGS, "-Wno-unused-function", "-D_GNU_SOURCE", *flags, *sources, "-o", str(output)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return output.read_bytes()


def artifact(
    body: str = "right",
    *,
    spec: KernelSpec = SPEC,
    threads: int = 1,
    features: tuple[str, ...] = (),
    config: str = "plain",
    extra: str = "",
    runtime: bool = True,
    entry: str = "entry",
    args: tuple[ArgSpec, ...] | None = None,
    sha256: str | None = None,
) -> Artifact:
    """An artifact of a body by name, or of C text."""
    return Artifact(
        spec=spec,
        config=config,
        threads=threads,
        entry=entry,
        arch="any",
        features=features,
        args=args
        or (
            ArgSpec("input", Role.INPUT, 16 * 16 * 32),
            ArgSpec("output", Role.OUTPUT, 8 * 8 * 32),
            ArgSpec("workspace", Role.WORKSPACE, 128),
        ),
        packing=Packing("plain"),
        check=Check(seed=7, output_sha256=sha256 or expected_sha256(spec, 7)),
        compiler="cc",
        native=True,
        code=code(BODIES.get(body, body), extra, runtime),
    )
