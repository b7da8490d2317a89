"""The zip: same content, same bytes."""

from __future__ import annotations

import os
import platform
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from profiler import __version__
from profiler.artifact import Artifact
from profiler.bundle.box.archive import MANIFEST, WHEELS
from profiler.bundle.box.draws import arguments_sha256
from profiler.bundle.box.machine import version
from profiler.bundle.box.manifest import Candidate, Draw, Kernel, Manifest, artifact_path
from profiler.bundle.closure import PACKAGE, files
from profiler.bundle.download import Wanted, download
from profiler.bundle.network_kernels import Built, artifacts_of, network_kernels_first, with_demands_of
from profiler.bundle.networks import (
    Integers,
    NetworkChoice,
    Packed,
    batch_of,
    choices,
    deployed,
    integers,
    measured_rows,
    packed,
)
from profiler.errors import DeviceError, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.hardware import CpuSpec, GpuSpec, host_cpu
from profiler.kernel_library.candidates import Candidates, Progress, build_candidates
from profiler.kernel_library.choice import Candidate as Choice
from profiler.kernels.cache import ArtifactCache
from profiler.lut.demand import Role, demand
from profiler.lut.schema import LutRow
from profiler.network.calibrate import Method
from profiler.network_stages.quantizer import QuantizerRequest, quantizer
from profiler.output_folder import require_writable
from profiler.record import CacheMode, Conditions, escaped
from profiler.sensitivity.perturbation import Clipping
from profiler.targets import CpuTarget, GpuTarget, Target, buildable, default_batch, elsewhere
from profiler.workload import INT4, INT8, Network, Op, Precision

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_ENTRY = PACKAGE / "bundle" / "box" / "__main__.py"


@dataclass(frozen=True)
class BundleRequest:
    """What a user asks of `bundle`.

    ``device`` is one of `targets.buildable` (none need be there) or ``cpu``: this machine's. ``batch`` None is its
    default, or that of a bits.json. ``configs`` candidates are built of each kernel, with ``cuda`` as in
    `CudaBackend`. ``out`` is the zip, ``kernels`` the folder that gets kernels/<device>/. ``wheels`` None carries none.

    ``networks`` are to be run end to end: ``uniform:int8``, or paths of bits.json. Their kernels have the configs of
    ``lut``, a table of the device, where it has measured rows of them; ``calibrate``, ``method`` and ``clipping`` are
    as in `QuantizerRequest`. ``energy``: joules of each kernel, too, where the box tells them.
    """

    model: str
    device: str
    out: Path
    configs: int = 8
    batch: int | None = None
    precisions: tuple[Precision, ...] = (INT8, INT4)
    mixed: bool = True
    cuda: str = "12"
    cache_mode: CacheMode = CacheMode.NETWORK
    threads: int = 1
    kernels: Path = field(default_factory=Path)
    skip_unsupported: bool = False
    wheels: Wanted | None = None
    networks: tuple[str, ...] = ()
    lut: Path | None = None
    calibrate: Path | None = None
    method: Method = Method.MIN_MAX
    clipping: Clipping = Clipping.MAX_ABS
    energy: bool = False

    @property
    def conditions(self) -> Conditions:
        return Conditions(self.threads, self.cache_mode)


@dataclass(frozen=True)
class BundleResult:
    """What was packed. ``missing`` are kernels without a candidate, with the reason; ``notes`` for people.
    ``networks_bytes`` is what the networks take ahead of compression, their kernels apart."""

    path: Path
    size_bytes: int
    manifest: Manifest
    missing: tuple[str, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    networks_bytes: int


@dataclass(frozen=True)
class _Model:
    """What is packed: the network, what of it runs end to end, the rows of the user's table, and notes."""

    network: Network
    integers: tuple[Integers, ...] = ()
    rows: tuple[LutRow, ...] = ()
    notes: tuple[str, ...] = ()


def bundle(request: BundleRequest, progress: Progress | None = None) -> BundleResult:
    """Build what the network can need and pack it. Raises `ProfilerError` for whatever the user can mend."""
    if not request.out.name or (request.out.exists() and not request.out.is_file()):
        raise OutputError(f"{request.out}: is no file; say which one to write with -o, e.g. run.zip")
    target = _target(request)
    gpu = isinstance(target, GpuTarget)
    model = _model(request, target)
    network = model.network
    folder = request.kernels / "kernels" / target.slug
    for needed in (folder, request.out.absolute().parent):
        require_writable(needed)
    wheels = download(request.wheels, gpu, networks=bool(request.networks)) if request.wheels else None
    demands = with_demands_of(model.integers, demand(network, request.precisions, mixed=request.mixed))
    cache = ArtifactCache(folder)
    kernels = build_candidates(network, demands, target, request.configs, cache, _keep, progress or Progress()).kernels
    kernels, notes = network_kernels_first(kernels, model.integers, model.rows, target, cache)
    built = [kernel for kernel in kernels if kernel.built]
    if not built:
        first = kernels[0]
        raise ProfilerError(f"no kernel of {network.name} could be built: {first.demand.spec.key}: {first.obstacle}")
    networks = [packed(one, artifacts_of(one, kernels)) for one in model.integers]
    manifest = _manifest(request, network, target, built, networks)
    of_networks = {name: data for one in networks for name, data in one.files.items()}
    content = {
        "__main__.py": _ENTRY.read_bytes(),
        MANIFEST: manifest.to_bytes(),
        **{name: path.read_bytes() for name, path in files().items()},
        **{artifact_path(a.sha256): a.to_bytes() for kernel in built for _, a in kernel.built},
        **of_networks,
        **{WHEELS + name: data for name, data in (wheels.files if wheels else {}).items()},
    }
    write(request.out, content)
    return BundleResult(
        path=request.out,
        size_bytes=request.out.stat().st_size,
        manifest=manifest,
        missing=tuple(f"{kernel.demand.spec.key}: {kernel.obstacle}" for kernel in kernels if not kernel.built),
        skipped=network.skipped,
        notes=(*model.notes, *notes, *(wheels.notes if wheels else ())),
        networks_bytes=sum(map(len, of_networks.values())),
    )


def _keep(candidate: Choice, artifact: Artifact, path: Path) -> Built:
    """All of it: it is packed."""
    return candidate, artifact


def write(path: Path, content: Mapping[str, bytes]) -> None:
    """Write a zip, all of it or nothing. Raises `OutputError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with zipfile.ZipFile(temporary, "w") as archive:
                for name in sorted(content):
                    entry = zipfile.ZipInfo(name, _TIMESTAMP)
                    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, content[name])
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; make room or choose another place") from None


def _target(request: BundleRequest) -> Target:
    slug = request.device.strip().lower()
    if slug == "cpu":
        return CpuTarget(host_cpu(), request.threads)
    if slug not in buildable():
        raise DeviceError(
            f"kernels cannot be built for '{escaped(request.device)}'; say --device cpu, {', '.join(buildable())}"
        )
    return elsewhere(slug, request.cuda, request.threads)


def _model(request: BundleRequest, target: Target) -> _Model:
    """Read, and quantized where networks shall run. Raises `ProfilerError`."""
    chosen = _choices(request)
    batch = request.batch or batch_of(chosen) or default_batch(isinstance(target, GpuTarget))
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    if not chosen:
        return _Model(network)
    rows = measured_rows(request.lut, target.slug, request.conditions) if request.lut is not None else ()
    configurations = deployed(chosen, network, rows)
    if all(one.quantized is not None for one in configurations):
        if request.calibrate is not None:
            raise ProfilerError("every --network is quantized already: leave out --calibrate")
        return _Model(network, integers(configurations, None), rows)
    asked = QuantizerRequest(
        model=request.model,
        batch=batch,
        calibrate=request.calibrate,
        method=request.method,
        clipping=request.clipping,
    )
    made = quantizer(
        asked, network, {p for one in configurations if one.deployment is not None for p in one.deployment.precisions}
    )
    return _Model(network, integers(configurations, made), rows, made.notes)


def _choices(request: BundleRequest) -> tuple[NetworkChoice, ...]:
    """Raises `ProfilerError` for options that do not go together."""
    given = {"--lut": request.lut, "--calibrate": request.calibrate}
    idle = [option for option, value in given.items() if value is not None]
    if not request.networks and idle:
        raise ProfilerError(f"{idle[0]} is of networks that run end to end: say --network uniform:int8 too")
    if request.networks and request.threads > 1:
        raise ProfilerError("a network runs on one thread: leave out --threads, or --network")
    if request.networks and request.skip_unsupported:
        raise ProfilerError("a network runs whole or not at all: leave out --skip-unsupported, or --network")
    return choices(request.networks)


def _manifest(
    request: BundleRequest,
    network: Network,
    target: Target,
    built: Sequence[Candidates[Built]],
    networks: Iterable[Packed],
) -> Manifest:
    artifacts = [artifact for kernel in built for _, artifact in kernel.built]
    return Manifest(
        tool_version=__version__,
        device=target.slug,
        device_name=target.name,
        arch=target.device.arch if isinstance(target.device, GpuSpec) else target.device.isa.value,
        machine=target.device.machine or platform.machine() if isinstance(target.device, CpuSpec) else "",
        features=tuple(sorted({feature for artifact in artifacts for feature in artifact.features})),
        least_driver=max((a.resources.least_driver for a in artifacts if a.resources), key=version, default=""),
        compiler=target.backend.compiler,
        conditions=request.conditions,
        network=network.name,
        batch=network.batch,
        kernels=tuple(map(_kernel, built)),
        draws=_draws(built),
        configurations=tuple(one.configuration for one in networks),
        energy=request.energy,
    )


def _kernel(kernel: Candidates[Built]) -> Kernel:
    return Kernel(
        spec=kernel.demand.spec,
        layers=kernel.demand.layers,
        mixed=kernel.demand.role is Role.MIXED,
        candidates=tuple(Candidate(a.config, candidate.modelled_s, a.sha256) for candidate, a in kernel.built),
    )


def _draws(built: Iterable[Candidates[Built]]) -> tuple[Draw, ...]:
    """Of the smallest kernel of each operator, the smallest first."""
    smallest: dict[Op, Candidates[Built]] = {}
    for one in sorted(built, key=lambda one: (prod(one.demand.spec.workload.input_shape), one.demand.spec.key)):
        smallest.setdefault(one.demand.spec.workload.op, one)
    return tuple(
        Draw(one.demand.spec, seed, arguments_sha256(one.demand.spec, seed))
        for one in smallest.values()
        for seed in [one.built[0][1].check.seed]
    )
