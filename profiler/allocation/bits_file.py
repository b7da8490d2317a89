"""`bits.json`: the precision of every layer and tensor that an allocation chose, under which limits, at what cost.

What deploys or exports an allocation reads this file and the network, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from profiler.allocation.bits_faults import faults
from profiler.errors import InvalidFile, InvalidWorkload
from profiler.output_folder import write_whole
from profiler.typed_json import FileFormat, typed
from profiler.workload import Network, Precision

FORMAT, BITS_VERSION = "lowbit-profiler bits", 1
"""1: first version."""
_FILE = FileFormat(FORMAT, BITS_VERSION, "is not a bits.json", "bits.json", command="allocate")
_MOST_IMAGES = 4096
"""Of a batch, as the commands have it."""


@dataclass(frozen=True)
class LayerBits:
    """A convolution or dense layer, and its precision (that of its weights and of the activations it reads). ``fixed``:
    the user, or a layer without a price, left nothing to choose."""

    name: str
    precision: str
    fixed: bool = False


@dataclass(frozen=True)
class TensorBits:
    """The precision in which a tensor is stored by what writes it."""

    name: str
    precision: str


@dataclass(frozen=True)
class TensorConversion:
    """A kernel that copies a tensor into another precision, for those readers."""

    tensor: str
    source: str
    target: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class LimitReached:
    """A limit in the SI unit of its quantity, and what the allocation takes of it."""

    quantity: str
    most: float
    reached: float


@dataclass(frozen=True)
class LatencyParts:
    """The sum over the kernels by where their latencies come from, in seconds.

    ``total_s`` is the sum of the parts. ``bound_s`` is what was held below the limit: known + factor * predicted, at
    ``confidence``. ``network_s`` is the network's latency by a calibration with end-to-end measurements, None without.
    ``kernel_only``: bare kernels, without bias, requantization and additions. ``unpriced`` names the layers of which
    nothing is in the sum.
    """

    total_s: float
    measured_s: float
    published_s: float
    predicted_s: float
    bound_s: float
    confidence: float | None = None
    network_s: float | None = None
    kernel_only: bool = False
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bits:
    """The content of a file. ``layers`` are all with weights, ``tensors`` all whose precision is a choice, both in the
    network's order; ``separate`` names the additions that run as kernels of their own. ``status`` is ``optimal`` or
    ``time_limit``; ``gap`` is relative, ``bound`` is proven: no allocation has a lower sensitivity."""

    network: str
    batch: int
    layers: tuple[LayerBits, ...]
    tensors: tuple[TensorBits, ...]
    conversions: tuple[TensorConversion, ...]
    separate: tuple[str, ...]
    limits: tuple[LimitReached, ...]
    sensitivity: float
    sensitivity_source: str
    bound: float
    gap: float
    status: str
    latency: LatencyParts
    size_bytes: float
    bops: float
    activation_bytes: float
    energy_j: float | None
    device: str
    device_name: str
    fingerprint: str
    lut: str

    def __post_init__(self) -> None:
        if self.sensitivity < 0 or self.gap < 0 or self.gap > 1:
            raise ValueError(f"a sensitivity of {self.sensitivity} and a gap of {self.gap} cannot be")
        if not 1 <= self.batch <= _MOST_IMAGES:
            raise ValueError(f"the batch is none of 1 to {_MOST_IMAGES} images")
        for what, names in (
            ("layer", [layer.name for layer in self.layers]),
            ("tensor", [tensor.name for tensor in self.tensors]),
            ("separate addition", list(self.separate)),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} is listed twice")
        for name in (
            *(layer.precision for layer in self.layers),
            *(tensor.precision for tensor in self.tensors),
            *(end for c in self.conversions for end in (c.source, c.target)),
        ):
            Precision.parse(name)

    def precision_of(self, layer: str) -> Precision:
        """Of a layer with weights; raises `KeyError` for others."""
        return self.of_layers[layer]

    @property
    def of_layers(self) -> Mapping[str, Precision]:
        """The precision of each layer with weights."""
        return {layer.name: Precision.parse(layer.precision) for layer in self.layers}

    @property
    def of_tensors(self) -> Mapping[str, Precision]:
        """That in which each tensor is stored."""
        return {tensor.name: Precision.parse(tensor.precision) for tensor in self.tensors}

    def require_network(self, network: Network) -> None:
        """Raises `InvalidFile` unless the file is about that network, its layers with weights and its tensors, and says
        what it can do. Tensors of which nothing is said are left to whoever needs them."""
        wanted = [layer.name for layer in network.weighted_layers]
        found = [layer.name for layer in self.layers]
        if wanted != found:
            missing = [name for name in wanted if name not in found] or [name for name in found if name not in wanted]
            what = f"'{missing[0]}' is in one of them only" if missing else "their order differs"
            raise InvalidFile(f"{self._misfit(network)}: layer {what}")
        for stranger in self._strangers(network):
            raise InvalidFile(f"{self._misfit(network)}: {stranger}")
        for fault in faults(network, self.of_layers, self.of_tensors, self.conversions, self.separate):
            raise InvalidFile(f"the bits cannot be deployed to network '{network.name}': {fault}")

    def _misfit(self, network: Network) -> str:
        if network.name != self.network:
            return f"the bits are of network '{self.network}', not of '{network.name}'"
        return f"the bits are of another network called '{network.name}'"

    def _strangers(self, network: Network) -> Iterator[str]:
        tensors, layers = {tensor.name for tensor in network.tensors}, {layer.name for layer in network.layers}
        for name in (*(tensor.name for tensor in self.tensors), *(copy.tensor for copy in self.conversions)):
            if name not in tensors:
                yield f"it has no tensor '{name}'"
        named = (*self.separate, *(name for copy in self.conversions for name in copy.readers), *self.latency.unpriced)
        for name in named:
            if name not in layers:
                yield f"it has no layer '{name}'"


def dumps(bits: Bits) -> str:
    """The same bits give the same text."""
    return json.dumps({"format": FORMAT, "version": BITS_VERSION, **asdict(bits)}, indent=1, allow_nan=False) + "\n"


def save(path: Path, bits: Bits) -> None:
    """Replaces the file in one step. Raises `OutputError`."""
    write_whole(path, dumps(bits).encode())


def is_bits(path: Path) -> bool:
    """Whether the file begins like one that `save` wrote."""
    with path.open("rb") as file:
        return json.dumps(FORMAT).encode() in file.read(200)


def load(path: Path) -> Bits:
    """Inverse of `save`. Raises `InvalidFile` naming the file and the field that is wrong."""
    body = _FILE.read(path)
    try:
        bits: Bits = typed(Bits, body, "bits")
    except (ValueError, InvalidWorkload) as error:
        raise InvalidFile(f"{path}: {error}; make it again with the command allocate") from None
    return bits
