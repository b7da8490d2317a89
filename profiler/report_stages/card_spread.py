"""What a fleet's journals of reference kernels say: how far this card is from others of its model."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from profiler.errors import InvalidFile
from profiler.fleet.spread import FOLDER, spread_of
from profiler.predictor.model_state import Origin
from profiler.record import FINAL_STAGE, Conditions, Fingerprint, Journal, Measurement


def card_spread(logs: Path | None, origin: Origin, conditions: Conditions) -> str:
    """One line; empty where no other card of the model was compared with this one under these conditions. ``logs`` is
    the folder of the device's journals."""
    latencies_s = _latencies_s(logs / FOLDER, origin, conditions) if logs is not None else {}
    spread = spread_of(origin.device_name, latencies_s)
    own = next((card for card in spread.cards if card.card == origin.fingerprint), None) if spread else None
    if spread is None or own is None:
        return ""
    return (
        f"{len(spread.cards)} of this model were compared on {len(spread.kernels)} reference kernels: a card's median "
        f"latency is {spread.low:.3f} to {spread.high:.3f} of the typical card's, this one's {own.median:.3f}"
    )


def _latencies_s(folder: Path, origin: Origin, conditions: Conditions) -> dict[str, dict[str, float]]:
    """The latest of each kernel, by the card's fingerprint (eight digits), without journals that cannot be read."""
    found: dict[str, dict[str, float]] = {}
    kin: dict[str, str] = {}
    for path in sorted(folder.glob("*.jsonl")):
        with suppress(InvalidFile):
            for record in Journal(path).read():
                if isinstance(record, Fingerprint):
                    if (record.device_name, record.arch) == (origin.device_name, origin.arch):
                        kin[record.digest] = record.short
                elif isinstance(record, Measurement) and record.stage == FINAL_STAGE and record.fingerprint in kin:
                    if record.conditions != conditions:
                        continue
                    latencies = found.setdefault(kin[record.fingerprint], {})
                    latencies[f"{record.spec.key} {record.config}"] = record.summary.median_s
    return found
