"""The arguments that a kernel is launched on, and what must be in its output then, on whatever device."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import NoReturn, Tuple

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Role
from profiler.devices.protocol import KernelFailure
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.packing import Packing
from profiler.quantize.samples import expected_output, sample_arguments
from profiler.quantize.stored import output_nbytes
from profiler.record import FailureKind
from profiler.workload import KernelSpec

Bytes = npt.NDArray[np.uint8]

_KEPT_ARGUMENTS = 4  # candidates of a search come one after another with the same arguments
_EXPLAINED_MACS = 2 * 10**9  # beyond this the oracle takes too long to say where a wrong output differs
_DRAWN_ROLES = (Role.INPUT, Role.PARAMETER, Role.INOUT)

_Key = Tuple[KernelSpec, int, Packing]


class SampleArguments:
    """Arguments as they lie in memory, drawn and packed, the last few of them kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, dict[str, Bytes]] = OrderedDict()

    def of(self, artifact: Artifact) -> dict[str, Bytes]:
        """1-d uint8 arrays by name, not to be changed."""
        key = (artifact.spec, artifact.check.seed, artifact.packing)
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            drawn = sample_arguments(artifact.spec, artifact.check.seed)
            self._kept[key] = pack_arguments(artifact.spec, artifact.packing, drawn)
            if len(self._kept) > _KEPT_ARGUMENTS:
                self._kept.popitem(last=False)
        return self._kept[key]


def output_index(artifact: Artifact, packed: Mapping[str, Bytes]) -> int:
    """Which of the artifact's arguments is its output.

    Raises `KernelFailure` (LAUNCH) if there is not one, or if an argument is not there or not of the size that the
    artifact wants. packed : what there is to pass, by name.
    """
    outputs = [i for i, arg in enumerate(artifact.args) if arg.role in (Role.OUTPUT, Role.INOUT)]
    if len(outputs) != 1:
        raise KernelFailure(FailureKind.LAUNCH, f"the artifact has {len(outputs)} outputs instead of one")
    for arg in artifact.args:
        if arg.role is Role.OUTPUT:
            given = output_nbytes(artifact.spec)
        elif arg.role not in _DRAWN_ROLES:
            continue
        elif arg.name in packed:
            given = packed[arg.name].size
        else:
            raise KernelFailure(FailureKind.LAUNCH, f"there is nothing to pass as argument '{arg.name}'")
        if given != arg.nbytes:
            text = f"argument '{arg.name}' has {given} bytes, the artifact wants {arg.nbytes}"
            raise KernelFailure(FailureKind.LAUNCH, text)
    return outputs[0]


def compare_output(artifact: Artifact, output: Bytes) -> None:
    """Raises `KernelFailure` (WRONG_OUTPUT), which says where the output differs from what its `Check` expects."""
    if hashlib.sha256(output.data).hexdigest() == artifact.check.output_sha256:
        return
    spec, seed = artifact.spec, artifact.check.seed
    if spec.workload.macs > _EXPLAINED_MACS:
        wrong_output("the output differs from the expected one")
    expected = np.frombuffer(expected_output(spec, seed), np.uint8)
    different = np.flatnonzero(output != expected)
    if not different.size:
        wrong_output(
            "the output is what the oracle says, but not what the artifact was built to expect; build it again"
        )
    at = int(different[0])
    wrong_output(
        f"{different.size} of {expected.size} output bytes differ; the first is byte {at}: "
        f"{int(output[at])} instead of {int(expected[at])}"
    )


def wrong_output(text: str) -> NoReturn:
    """Raises `KernelFailure`."""
    raise KernelFailure(FailureKind.WRONG_OUTPUT, text)
