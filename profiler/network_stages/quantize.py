"""From a trained network and chosen bits to an integer network in a file. It needs no device and no compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation import bits_file
from profiler.allocation.deployment import Deployment
from profiler.errors import OutputError, ProfilerError
from profiler.frontend.refusal import quoted
from profiler.lut.demand import demand
from profiler.lut.store import read
from profiler.lut.table import prices
from profiler.network import integer_file
from profiler.network.noise import OutputNoise, output_noise
from profiler.network_stages.deployments import (
    allocated_deployment,
    layers_of_precisions,
    uniform_deployment,
    weight_bytes,
)
from profiler.network_stages.quantizer import QuantizerRequest, network_of, quantizer
from profiler.network_stages.trained import calibration_images
from profiler.output_folder import removed_if_empty, require_writable
from profiler.record import CacheMode, Conditions
from profiler.workload import KernelSpec, Network, Op, Precision

_COMPARED = 2
"""Images that both networks are run with; half a second for each network in ResNet50."""
_CONDITIONS = Conditions(1, CacheMode.NETWORK)
"""Of the rows that decide on additions, as where a network is run."""


@dataclass(frozen=True, kw_only=True)
class QuantizeRequest(QuantizerRequest):
    """What a user asks of `quantize`. Either ``bits``, a bits.json, or ``uniform``, a precision for everything, whose
    additions are fused unless ``lut``, a table, has them faster by themselves. ``batch`` is by default that of the
    bits, or 1. ``out`` is the .npz to write."""

    out: Path
    bits: Path | None = None
    uniform: Precision | None = None
    lut: Path | None = None


@dataclass(frozen=True)
class QuantizeResult:
    """What was written. ``layers`` says how many layers with weights have which precision, widest first;
    ``weight_bytes`` is what these take in their own bits, as the size in bits.json; ``file_bytes`` is the file's size.
    ``noise`` is that of each output on ``images`` images of the calibration."""

    path: Path
    network: str
    batch: int
    layers: tuple[tuple[Precision, int], ...]
    weight_bytes: float
    file_bytes: int
    images: int
    noise: tuple[OutputNoise, ...]
    notes: tuple[str, ...]


def quantize(request: QuantizeRequest, told: Callable[[str], None] = lambda text: None) -> QuantizeResult:
    """Calibrate, quantize, compare, write. ``told`` hears of each step.

    Raises `ProfilerError` for whatever the user can mend, before the work where that can be known; the file is then as
    it was.
    """
    if (request.bits is None) == (request.uniform is None):
        raise ProfilerError("say which bits: either --bits bits.json, or --uniform int8")
    if request.bits is not None and request.lut is not None:
        raise ProfilerError("--lut decides on the additions of --uniform; a bits.json says itself how they run")
    _require_output(request.out)
    with removed_if_empty(request.out.parent):
        require_writable(request.out.parent, "FILE")
        network, deployment, notes = _deployment(request)
        told("calibrating")
        calibration = calibration_images(request.calibrate, network)
        source = quantizer(request, network, deployment.precisions, calibration)
        told("quantizing")
        integers = source.integers(deployment)
        told("comparing with the float network")
        images = next(calibration.batches(_COMPARED))
        noise = output_noise(source.trained, integers, images)
        told("writing")
        integer_file.save(request.out, integers)
    return QuantizeResult(
        path=request.out,
        network=network.name,
        batch=network.batch,
        layers=tuple(layers_of_precisions(network, deployment)),
        weight_bytes=weight_bytes(network, deployment),
        file_bytes=request.out.stat().st_size,
        images=len(next(iter(images.values()))),
        noise=noise,
        notes=(*source.notes, *notes, *_doubts(noise)),
    )


def _require_output(path: Path) -> None:
    """Raises `OutputError` where a file would be lost."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    if path.suffix.lower() != ".npz":
        raise OutputError(f"{path}: an integer network is a file that ends in .npz")
    if path.exists() and not integer_file.is_integer_network(path):
        raise OutputError(f"{path}: is there and is no integer network, which would replace it; name another file")


def _deployment(request: QuantizeRequest) -> tuple[Network, Deployment, tuple[str, ...]]:
    """The network at its batch, its bits, and what a reader should know of these."""
    if request.bits is not None:
        bits = bits_file.load(request.bits)
        network = network_of(request, bits.batch)
        return network, allocated_deployment(network, request.bits, bits), ()
    assert request.uniform is not None
    latencies_s = {} if request.lut is None else prices(read(request.lut), _CONDITIONS)
    network = network_of(request, 1)
    notes: tuple[str, ...] = ()
    if request.lut is not None and network.fusions():
        wanted = demand(network, (request.uniform,), mixed=False)
        if not any(kernel.spec in latencies_s for kernel in wanted if _is_of_an_addition(kernel.spec)):
            notes = (f"{request.lut} has no measured row of an addition ({_CONDITIONS.describe()}): all are fused",)
    return network, uniform_deployment(network, request.uniform, latencies_s), notes


def _is_of_an_addition(spec: KernelSpec) -> bool:
    return spec.epilogue.adds or spec.workload.op is Op.ADD


def _doubts(noise: tuple[OutputNoise, ...]) -> Iterator[str]:
    for output in noise:
        if output.relative_error is not None and output.relative_error >= 1:
            yield (
                f"output {quoted(output.name)} is no nearer to that of the float network than zeros would be: "
                "calibrate with more of the training images, or leave more layers in int8"
            )
