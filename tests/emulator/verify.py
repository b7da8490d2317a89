"""Prove kernels right: lower, compile for the emulator, run in both orders, compare with the oracle bit for bit."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from profiler.artifact import Role
from profiler.hardware import GpuSpec
from profiler.kernels.cuda.lower import CudaKernel, lower
from profiler.quantize.oracle import reference
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.samples import sample_arguments
from profiler.quantize.stored import pack_output, unpack_output
from profiler.space.config import ScheduleConfig, to_text
from profiler.workload import KernelSpec
from tests.emulator.build import compile_kernels
from tests.emulator.launch import Array, Bytes, Fault, Order, run
from tests.emulator.rewrite import NotEmulated

Case = tuple[KernelSpec, ScheduleConfig, GpuSpec]

_BATCH = 12
_WORKERS = 2


def emulate(kernel: CudaKernel, contents: Mapping[str, Bytes], order: Order = Order.FORWARD) -> dict[str, Bytes]:
    """Compile and run one kernel: the bytes of all that it may write, by name. Raises `Fault`, `NotEmulated`.

    contents : initial bytes by name; what is not given is poison, counters are zero.
    """
    return run(compile_kernels([kernel]), 0, kernel, contents, order)


def verify(spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec, seed: int = 0) -> None:
    """Lower, compile and run a kernel. Raises `Fault`, or `AssertionError` where the output is not the oracle's."""
    kernel = lower(spec, config, gpu)
    check(compile_kernels([kernel]), 0, kernel, spec, sample_arguments(spec, seed))


def verify_all(cases: Iterable[Case], seed: int = 0) -> int:
    """`verify` for many: compiled in batches, while the next ones are lowered. Returns how many there were.

    Raises `AssertionError` with a line for each case that failed.
    """
    futures: list[Future[list[str]]] = []
    total = 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        for batch in _batches(cases):
            total += len(batch)
            kernels = [_lower(case) for case in batch]
            futures.append(pool.submit(_failures, batch, kernels, seed))
    failures = [line for future in futures for line in future.result()]
    assert not failures, f"{len(failures)} of {total} cases failed:\n" + "\n".join(failures)
    return total


def check(
    library: ctypes.CDLL, position: int, kernel: CudaKernel, spec: KernelSpec, arguments: Mapping[str, Array]
) -> None:
    """Run a compiled kernel in every order. Raises `Fault`, or `AssertionError` where its output is wrong.

    arguments : logical ones by name, as `samples.sample_arguments` draws them.
    """
    contents = pack_arguments(spec, kernel.packing, arguments)
    expected = np.frombuffer(pack_output(spec, reference(spec, arguments)), np.uint8)
    for order in Order:
        written = run(library, position, kernel, contents, order)
        _compare(spec, written["output"], expected)
        for arg in kernel.args:
            assert arg.role is not Role.COUNTERS or not written[arg.name].any(), f"{arg.name} is not zero again"


def _compare(spec: KernelSpec, actual: Bytes, expected: Bytes) -> None:
    wrong = np.flatnonzero(actual != expected)
    if not wrong.size:
        return
    got, wanted = unpack_output(spec, actual), unpack_output(spec, expected)
    places = np.argwhere(got != wanted)
    first = f"byte {wrong[0]} is {actual[wrong[0]]}, not {expected[wrong[0]]}"
    if len(places):  # none where only a spare nibble differs
        at = tuple(int(i) for i in places[0])
        first = f"output{list(at)} is {got[at]}, not {wanted[at]}"
    raise AssertionError(f"{wrong.size} of {expected.size} bytes differ; {first}")


def _batches(cases: Iterable[Case]) -> Iterator[list[Case]]:
    remaining = iter(cases)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _lower(case: Case) -> CudaKernel:
    try:
        return lower(*case)
    except Exception as error:
        raise AssertionError(f"{_name(case)}: {error!r}") from error


def _failures(batch: Sequence[Case], kernels: Sequence[CudaKernel], seed: int) -> list[str]:
    try:
        library = compile_kernels(kernels)
    except NotEmulated as error:
        if len(batch) == 1:
            return [f"{_name(batch[0])}: {error}"]
        return [line for case, kernel in zip(batch, kernels, strict=True) for line in _failures([case], [kernel], seed)]
    failures = []
    for position, (case, kernel) in enumerate(zip(batch, kernels, strict=True)):
        try:
            check(library, position, kernel, case[0], sample_arguments(case[0], seed))
        except (AssertionError, Fault) as error:
            failures.append(f"{_name(case)}: {error}")
    return failures


def _name(case: Case) -> str:
    spec, config, gpu = case
    return f"{spec.key} {to_text(config)} {gpu.slug}"
