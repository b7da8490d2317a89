"""Max pools in plain C in place of TVM's kernels, so that a fleet can be watched at work in seconds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.kernels.backend import Backend
from profiler.kernels.toolchain import ToolchainError
from profiler.quantize.packing import Packing
from profiler.quantize.samples import expected_sha256
from profiler.space.config import ScheduleConfig, to_text
from profiler.targets import CpuTarget
from profiler.workload import KernelSpec, Layer, Network, Op, Tensor, Workload
from tests.devices.c_kernels import RUNTIME

_SOURCE = """
#include <stdint.h>
void entry(void** a) {{
    const {type}* x = a[0];
    {type}* y = a[1];
    for (int h = 0; h < {out_h}; ++h) for (int w = 0; w < {out_w}; ++w) for (int c = 0; c < {channels}; ++c) {{
        {type} best = x[(h * {stride_h} * {width} + w * {stride_w}) * {channels} + c];
        for (int i = 0; i < {kernel_h}; ++i) for (int j = 0; j < {kernel_w}; ++j) {{
            {type} v = x[((h * {stride_h} + i) * {width} + w * {stride_w} + j) * {channels} + c];
            if (v > best) best = v;
        }}
        y[(h * {out_w} + w) * {channels} + c] = best;
    }}
}}
"""
_SEED = 7
_FLAGS = ("-std=c11", "-O1", "-fPIC", "-pthread", "-D_GNU_SOURCE")


def network(pools: int) -> Network:
    """So many pools of one image, each another workload."""
    layers = tuple(
        Layer(f"pool{n}", Workload(Op.MAX_POOL, 1, 16, 16, 16, 16, n + 1, n + 1, n + 1, n + 1), ("image",), f"out{n}")
        for n in range(1, pools + 1)
    )
    outputs = tuple(
        Tensor(layer.output, 16 // layer.workload.kernel_h, 16 // layer.workload.kernel_w, 16, signed=True)
        for layer in layers
    )
    return Network("pools", 1, (Tensor("image", 16, 16, 16, signed=True), *outputs), layers)


@dataclass(frozen=True)
class PoolBackend:
    """A `kernels.backend.Backend`; all configs give the same code."""

    @property
    def compiler(self) -> str:
        return "cc, for tests"

    def prepare(self, folder: Path) -> Callable[[KernelSpec, ScheduleConfig], Artifact]:
        """The timing loop is compiled once; it takes most of the time. Where FLEET_TEST says ``no_compiler`` there is
        none, and where it names a file with ``compiles`` that is made when one begins, which then takes a second."""
        said = json.loads(os.environ.get("FLEET_TEST", "{}"))
        if "no_compiler" in said:
            raise ToolchainError("no C compiler: install one")
        if "compiles" in said:
            Path(said["compiles"]).touch()
            time.sleep(1)
        runtime = folder / "runtime.o"
        subprocess.run(["cc", *_FLAGS, "-c", str(RUNTIME), "-o", str(runtime)], check=True, capture_output=True)
        return lambda spec, config: _build(spec, config, runtime)

    def key(self, spec: KernelSpec, config: ScheduleConfig) -> str:
        return hashlib.sha256(f"{spec.key} {to_text(config)}".encode()).hexdigest()


@dataclass(frozen=True)
class PoolTarget(CpuTarget):
    """The host, with kernels of a `PoolBackend`."""

    @property
    def backend(self) -> Backend:
        return PoolBackend()


def _build(spec: KernelSpec, config: ScheduleConfig, runtime: Path) -> Artifact:
    workload = spec.workload
    source, output = runtime.with_name("pool.c"), runtime.with_name("pool.so")
    extents = {
        "type": f"{spec.input_dtype.value}_t",
        "channels": workload.in_channels,
        "width": workload.in_width,
        "out_h": workload.out_height,
        "out_w": workload.out_width,
        "kernel_h": workload.kernel_h,
        "kernel_w": workload.kernel_w,
        "stride_h": workload.stride_h,
        "stride_w": workload.stride_w,
    }
    source.write_text(_SOURCE.format(**extents))
    command = ["cc", *_FLAGS, "-shared", str(source), str(runtime), "-o", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    inputs = workload.in_height * workload.in_width * workload.in_channels
    outputs = workload.out_height * workload.out_width * workload.out_channels
    return Artifact(
        spec=spec,
        config=to_text(config),
        threads=1,
        entry="entry",
        arch="any",
        features=(),
        args=(ArgSpec("input", Role.INPUT, inputs), ArgSpec("output", Role.OUTPUT, outputs)),
        packing=Packing("plain"),
        check=Check(_SEED, expected_sha256(spec, _SEED)),
        compiler="cc, for tests",
        native=True,
        code=output.read_bytes(),
    )
