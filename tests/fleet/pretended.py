"""A fleet without Dask and without processes: a link whose workers answer at once, as a test wants it.

Artifacts hold no code and latencies are made up; the plan, the searches, the journals and all that leads is real.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler import __version__
from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.devices.discover import FoundDevice
from profiler.fleet import stage, worker_side
from profiler.fleet.access import Access
from profiler.fleet.events import FleetEvent, FleetProgress
from profiler.fleet.limits import FleetLimits
from profiler.fleet.link import WorkerLost
from profiler.fleet.offers import Offer, Versions
from profiler.fleet.orders import (
    BuildOrder,
    Built,
    CardFacts,
    Compiler,
    EnergyOrder,
    Measured,
    MeasureOrder,
    SeatKey,
    Sight,
)
from profiler.fleet.orders import code_sha256 as code
from profiler.fleet.request import FleetRequest
from profiler.frontend import network_file
from profiler.hardware import host_cpu
from profiler.quantize.packing import Packing
from profiler.record import (
    Energy,
    EnergyMeasurement,
    EnergyWindow,
    Failure,
    FailureKind,
    Fingerprint,
    Measurement,
    encode,
)
from profiler.space.config import to_text
from profiler.workload import INT8
from tests.fleet.pools import network

VERSIONS = Versions("3", "2", "1")
CPU = FoundDevice("cpu", "a CPU")


@dataclass
class Worker:
    """``fault`` is asked ahead of each answer, with the function's name; it may wait, and raise. ``clock_s`` : seconds
    that its clock is ahead. ``tires`` : whether a kernel fails there while its energy is measured."""

    offer: Offer
    machine: str
    devices: tuple[FoundDevice, ...] = (CPU,)
    fault: Callable[[str], None] = lambda name: None
    clock_s: float = 0.0
    tires: Callable[[Artifact], bool] = lambda artifact: False

    def answer(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        self.fault(function.__name__)
        if function is worker_side.look:
            return Sight(self.machine, self.machine, "x86_64", 4, __version__, code(), self.devices)
        if function is worker_side.open_card:
            return CardFacts(self._fingerprint(arguments[1]), host_cpu())
        if function is worker_side.compiler:
            return Compiler("cc, for tests")
        if function is worker_side.build:
            return _built(arguments[0])
        if function is worker_side.measure_energy:
            return self._metered(arguments[1], arguments[2])
        assert function is worker_side.measure
        return self._measured(arguments[1], arguments[2])

    def _fingerprint(self, key: SeatKey, compiler: str = "") -> Fingerprint:
        return Fingerprint("fake", "Fake", "arch", key.uuid or self.machine, "1", compiler)

    def _measured(self, key: SeatKey, order: MeasureOrder) -> Measured:
        digest = self._fingerprint(key, "cc, for tests").digest
        artifacts = [Artifact.from_bytes(data) for data in order.artifacts]
        return Measured(tuple(encode(_measurement(artifact, order, digest, self.clock_s)) for artifact in artifacts))

    def _metered(self, key: SeatKey, order: EnergyOrder) -> Measured:
        digest = self._fingerprint(key, "cc, for tests").digest
        artifact = Artifact.from_bytes(order.artifact)
        found = (_tired if self.tires(artifact) else _energy)(artifact, order, digest)
        return Measured((encode(found),))


@dataclass
class PretendedLink:
    """In the place of `fleet.link.Link`. ``workers`` by address; whoever is taken out is gone."""

    workers: dict[str, Worker] = field(default_factory=dict)
    address: str = "tcp://pretended:1"
    versions: Versions = VERSIONS
    asked: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, machine: str, devices: tuple[FoundDevice, ...] = (CPU,), **resources: int) -> Worker:
        offer = Offer(f"tcp://{name}:1", name, dict(resources))
        self.workers[offer.address] = Worker(offer, machine, devices)
        return self.workers[offer.address]

    def offers(self) -> Mapping[str, tuple[Offer, object]]:
        return {address: (worker.offer, time.monotonic()) for address, worker in dict(self.workers).items()}

    def versions_of(self, address: str) -> Versions:
        return VERSIONS

    def ask(self, function: Callable[..., Any], *arguments: Any, **said: Any) -> Any:
        return self.ask_all(function, [arguments], **said)[0]

    def ask_all(
        self,
        function: Callable[..., Any],
        calls: Sequence[Sequence[Any]],
        *,
        workers: Sequence[str],
        watch: Callable[[], None],
        resources: Mapping[str, float] | None = None,
    ) -> list[Any]:
        found = []
        for number, arguments in enumerate(calls):
            watch()
            address = workers[number % len(workers)]
            worker = self.workers.get(address)
            if worker is None:
                raise WorkerLost("it is gone")
            self.asked.append((worker.offer.name, function.__name__))
            found.append(worker.answer(function, arguments))
            watch()
        return found

    def tell(self, function: Callable[[], object], workers: Sequence[str]) -> None:
        pass

    def __enter__(self) -> PretendedLink:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class PretendedFleet:
    """The fleet, and somebody's folder at home."""

    link: PretendedLink
    folder: Path
    events: list[FleetEvent] = field(default_factory=list)

    def profile(
        self,
        pools: int,
        device: str = "cpu",
        listen: Callable[[FleetEvent], None] | None = None,
        trials: int = 1,
        **options: Any,
    ) -> Any:
        model = self.folder / "pools.json"
        network_file.save(network(pools), model)

        def fleet(event: FleetEvent) -> None:
            self.events.append(event)
            if listen is not None:
                listen(event)

        request = FleetRequest(
            model=str(model),
            device=device,
            batch=1,
            precisions=(INT8,),
            trials=trials,
            mixed=False,
            out=self.folder / "out",
            access=Access("tcp://pretended:1", insecure=True),
            limits=FleetLimits(workers_s=1, look_every_s=0.01, gather_s=2),
            **options,
        )
        return stage.profile(request, FleetProgress(fleet=fleet))

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def _built(order: BuildOrder) -> Built:
    return Built(
        tuple(
            Artifact(
                spec=spec,
                config=to_text(config),
                threads=1,
                entry="entry",
                arch="any",
                features=(),
                args=(ArgSpec("input", Role.INPUT, 1), ArgSpec("output", Role.OUTPUT, 1)),
                packing=Packing("plain"),
                check=Check(7, "0" * 64),
                compiler="cc, for tests",
                native=True,
                code=b"none",
            ).to_bytes()
            for spec, config in order.requests
        )
    )


def _measurement(artifact: Artifact, order: MeasureOrder, digest: str, clock_s: float) -> Measurement:
    return Measurement(
        spec=artifact.spec,
        config=artifact.config,
        conditions=order.conditions,
        fingerprint=digest,
        artifact_sha256=artifact.sha256,
        samples_s=(1e-6,) * 7,
        launches_per_sample=1,
        discarded=0,
        stage=order.stage,
        run_id=order.run.run_id,
        measured_at=time.time() + clock_s,
        tool_version=order.run.tool_version,
    )


def _energy(artifact: Artifact, order: EnergyOrder, digest: str) -> EnergyMeasurement:
    return EnergyMeasurement(
        spec=artifact.spec,
        config=artifact.config,
        conditions=order.conditions,
        fingerprint=digest,
        artifact_sha256=artifact.sha256,
        energy=Energy((EnergyWindow(1000, 5.0, 50.0, None),), None, None, (), "a meter"),
        run_id=order.run.run_id,
        measured_at=time.time(),
        tool_version=order.run.tool_version,
    )


def _tired(artifact: Artifact, order: EnergyOrder, digest: str) -> Failure:
    return Failure(
        spec=artifact.spec,
        config=artifact.config,
        conditions=order.conditions,
        fingerprint=digest,
        kind=FailureKind.WRONG_OUTPUT,
        message="while its energy was measured: it computes something else",
        run_id=order.run.run_id,
        measured_at=time.time(),
        tool_version=order.run.tool_version,
    )
