"""The networks that a bundle carries to run them end to end: quantized here, as plans, bytes and digests of the truth.

The integer oracle stays here. What travels is what it says of one drawn input: the digest of each step's output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits
from profiler.allocation.deployment import Deployment
from profiler.artifact import Artifact
from profiler.bundle.box.manifest import Configuration
from profiler.bundle.box.network_run import stored_sha256
from profiler.bundle.box.packed import Expected, PackedNetwork, bytes_path, description_path, digest
from profiler.errors import InvalidFile, ProfilerError
from profiler.lut.schema import LutRow
from profiler.lut.store import read
from profiler.network import integer_file
from profiler.network.execute.planned import Plan
from profiler.network.integer_network import IntegerNetwork, Value
from profiler.network.oracle_run import Array, checked_inputs, oracle_steps, unfilled
from profiler.network.plan import parameter_bytes, plan
from profiler.network.random_weights import random_pixels
from profiler.network.real_numbers import quantized_inputs
from profiler.network_stages.deployments import allocated_deployment, uniform_deployment
from profiler.network_stages.kernels_of import rows_with_config
from profiler.network_stages.quantizer import Quantizer
from profiler.quantize.spare_bits import spare_bits
from profiler.quantize.stored import pack_activation
from profiler.record import Conditions, escaped
from profiler.workload import KernelSpec, Network, Op, Precision

_UNIFORM = "uniform:"
_SEED = 1
"""Of the input that a network is run with."""


@dataclass(frozen=True)
class NetworkChoice:
    """A configuration as the user names it: ``bits`` or ``quantized``, read from ``path``, or ``uniform``, a
    precision."""

    name: str
    path: Path | None = None
    bits: Bits | None = None
    uniform: Precision | None = None
    quantized: IntegerNetwork | None = field(default=None, compare=False)

    @property
    def batch(self) -> int | None:
        """None where it is left to whoever asks."""
        of_file = self.bits or self.quantized
        return None if of_file is None else of_file.batch


@dataclass(frozen=True)
class Integers:
    """A configuration in integers. ``narrow_layers`` of its layers have weights of less than 8 bits."""

    name: str
    narrow_layers: int
    network: IntegerNetwork = field(compare=False)

    @property
    def layers(self) -> Mapping[KernelSpec, tuple[str, ...]]:
        """By kernel, the layers that run it; kernels in the order of their first use."""
        found: dict[KernelSpec, dict[str, None]] = {}
        for step in self.network.steps:
            found.setdefault(step.spec, {})[step.layer] = None
        return {spec: tuple(layers) for spec, layers in found.items()}


@dataclass(frozen=True)
class Packed:
    """A configuration as it travels, with its files by their name in the zip."""

    configuration: Configuration
    files: Mapping[str, bytes] = field(repr=False)


def choices(texts: Sequence[str]) -> tuple[NetworkChoice, ...]:
    """Of what the user wrote: ``uniform:int8``, or the path of a bits.json or of a network of `quantize`. Raises
    `ProfilerError`."""
    found = tuple(map(_choice, texts))
    names = [choice.name for choice in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ProfilerError(f"--network: two are called '{twice[0]}'; name each once, and files differently")
    return found


def batch_of(chosen: Sequence[NetworkChoice]) -> int | None:
    """That of the first file; None where there is none."""
    return next((choice.batch for choice in chosen if choice.batch is not None), None)


@dataclass(frozen=True)
class Deployed:
    """A configuration of a model, checked: quantized already, or with what of its bits decides on kernels."""

    name: str
    deployment: Deployment | None
    quantized: IntegerNetwork | None = field(default=None, compare=False)


def deployed(chosen: Sequence[NetworkChoice], network: Network, rows: Sequence[LutRow]) -> tuple[Deployed, ...]:
    """``rows`` are measured ones: where they have an addition by itself faster than fused, uniform networks run it so.
    Raises `InvalidFile` for a file of another network or batch."""
    latencies_s = {row.spec: row.latency_median_s for row in rows}
    return tuple(_deployed(choice, network, latencies_s) for choice in chosen)


def integers(configurations: Iterable[Deployed], quantizer: Quantizer | None) -> tuple[Integers, ...]:
    """The configurations in integers; all of them may be quantized already, and need no quantizer then. Raises
    `UnsupportedModel` for what cannot be quantized."""
    found = []
    for one in configurations:
        made = one.quantized
        if made is None:
            assert one.deployment is not None
            assert quantizer is not None
            made = quantizer.integers(one.deployment)
        weighted = {step.layer: step.spec.weight_dtype for step in made.steps if step.spec.workload.op.has_weights}
        narrow = sum(dtype is not None and dtype.bits < 8 for dtype in weighted.values())
        found.append(Integers(one.name, narrow, made))
    return tuple(found)


def measured_rows(path: Path, device: str, conditions: Conditions) -> tuple[LutRow, ...]:
    """Of a table of that device's kernels, those with a config. Raises `InvalidFile` for a table of another device."""
    rows = read(path)
    others = [row for row in rows if row.device != device]
    if others:
        raise InvalidFile(
            f"{path}: the table is of {others[0].device_name} ({others[0].device}), and the bundle for {device}; name "
            "one of that device with --lut, or leave it out"
        )
    return tuple(rows_with_config(rows, conditions))


def packed(one: Integers, artifacts: Mapping[KernelSpec, Artifact]) -> Packed:
    """Ready to travel; the same network and artifacts give the same bytes. Raises `UnsupportedModel` where a kernel
    cannot read or write a value as it lies, naming the layer."""
    network = one.network
    planned = plan(network, artifacts)
    inputs = quantized_inputs(network, random_pixels(network, _SEED))
    steps, outputs = _expected(network, inputs)
    description = PackedNetwork(_printable(planned), steps, outputs).to_bytes()
    parameters = parameter_bytes(network, artifacts, planned).tobytes()
    stored = b"".join(pack_activation(inputs[name], network.value(name).dtype).tobytes() for name in network.inputs)
    configuration = Configuration(
        name=one.name,
        narrow_layers=one.narrow_layers,
        steps=tuple(artifacts[step.spec].sha256 for step in network.steps),
        description=digest(description),
        parameters=digest(parameters),
        inputs=digest(stored),
    )
    files = {
        description_path(configuration.description): description,
        bytes_path(configuration.parameters): parameters,
        bytes_path(configuration.inputs): stored,
    }
    return Packed(configuration, files)


def _choice(text: str) -> NetworkChoice:
    if text.strip().lower().startswith(_UNIFORM):
        precision = Precision.parse(text.strip()[len(_UNIFORM) :])
        return NetworkChoice(f"uniform {precision.name}", uniform=precision)
    path = Path(text)
    if path.suffix.lower() == ".npz":
        return NetworkChoice(escaped(path.name), path, quantized=integer_file.load(path))
    return NetworkChoice(escaped(path.name), path, bits_file.load(path))


def _deployed(choice: NetworkChoice, network: Network, latencies_s: Mapping[KernelSpec, float]) -> Deployed:
    if choice.quantized is not None:
        found = (choice.quantized.name, choice.quantized.batch)
        if found != (network.name, network.batch):
            raise InvalidFile(
                f"{choice.path}: is network '{found[0]}' of batch {found[1]}, and the bundle is of '{network.name}', "
                f"batch {network.batch}"
            )
        return Deployed(choice.name, None, choice.quantized)
    if choice.bits is not None and choice.path is not None:
        return Deployed(choice.name, allocated_deployment(network, choice.path, choice.bits))
    assert choice.uniform is not None
    return Deployed(choice.name, uniform_deployment(network, choice.uniform, latencies_s))


def _printable(planned: Plan) -> Plan:
    """Names of a user's model may hold any character."""
    steps = (replace(step, name=escaped(step.name), layer=escaped(step.layer)) for step in planned.steps)
    outputs = (replace(value, name=escaped(value.name)) for value in planned.outputs)
    inputs = (replace(value, name=escaped(value.name)) for value in planned.inputs)
    return replace(planned, steps=tuple(steps), inputs=tuple(inputs), outputs=tuple(outputs))


def _expected(
    network: IntegerNetwork, inputs: Mapping[str, Array]
) -> tuple[tuple[Expected, ...], tuple[Expected, ...]]:
    """What the integer oracle says behind each step, and of the outputs."""
    by_name = {value.name: value for value in network.values}
    slices = {step.writes for step in network.steps if step.spec.workload.op is Op.CONCAT}
    values = checked_inputs(network, inputs) | unfilled(network)
    found = []
    for step, expected in oracle_steps(network, values):
        values[step.writes] = expected
        found.append(_stored(by_name[step.writes], expected, step.filled))
    outputs = (
        _stored(by_name[name], values[name], by_name[name].shape[-1] if name in slices else None)
        for name in network.outputs
    )
    return tuple(found), tuple(outputs)


def _stored(value: Value, integers: Array, filled: int | None) -> Expected:
    raw = pack_activation(integers.reshape(value.shape), value.dtype).tobytes()
    spare = spare_bits(value.shape[-1], value.dtype, filled)
    return Expected(stored_sha256(raw, spare), spare)
