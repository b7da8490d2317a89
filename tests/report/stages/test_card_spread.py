"""How far this card is from others, from records that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiler.predictor.model_state import Origin
from profiler.record import FINAL_STAGE, CacheMode, Conditions, Fingerprint, Journal, Measurement
from profiler.report_stages.card_spread import card_spread
from profiler.workload import DType, KernelSpec, Op, Workload

CARDS = tuple(Fingerprint("t4", "Tesla T4", "sm_75", f"GPU-{n}", "535", "nvrtc") for n in range(3))
SPECS = tuple(
    KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, channels, channels, 2, 2, 2, 2), DType.INT8, DType.INT8)
    for channels in (16, 32)
)
HERE = Origin("t4", "Tesla T4", "sm_75", CARDS[1].short, Conditions())


def record(card: Fingerprint, spec: KernelSpec, latency_s: float, at: float = 1.0) -> Measurement:
    return Measurement(
        spec, "config", Conditions(), card.digest, "0" * 64, (latency_s,) * 7, 1, 0, FINAL_STAGE, "run", at, "0"
    )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """On the two kernels the cards take 100, 110, 120 us and 10, 10, 8 us; the medians are 110 and 10."""
    for spec, latencies_us in zip(SPECS, ((100, 110, 120), (10, 10, 8)), strict=True):
        journal = Journal(tmp_path / "spread" / f"{spec.workload.text}.jsonl")
        for card, latency_us in zip(CARDS, latencies_us, strict=True):
            journal.append([card, record(card, spec, 1.0), record(card, spec, latency_us * 1e-6)])
    return tmp_path


def test_by_hand(logs: Path) -> None:
    # Ratios: 0.909 and 1, 1 and 1, 1.091 and 0.8; their medians: 0.955, 1, 0.945.
    assert card_spread(logs, HERE, Conditions()) == (
        "3 of this model were compared on 2 reference kernels: a card's median latency is 0.945 to 1.000 of the "
        "typical card's, this one's 1.000"
    )
    assert card_spread(logs, replace(HERE, fingerprint=CARDS[2].short), Conditions()).endswith("this one's 0.945")


def test_nothing_to_say(logs: Path, tmp_path: Path) -> None:
    assert card_spread(None, HERE, Conditions()) == ""
    assert card_spread(tmp_path / "elsewhere", HERE, Conditions()) == ""
    assert card_spread(logs, replace(HERE, fingerprint="00000000"), Conditions()) == "", "a card that was not there"
    assert card_spread(logs, replace(HERE, device_name="Tesla T4G"), Conditions()) == ""
    assert card_spread(logs, HERE, Conditions(cache_mode=CacheMode.HOT)) == ""


def test_a_damaged_journal_is_left_out(logs: Path) -> None:
    (logs / "spread" / "damaged.jsonl").write_text("{}\n")
    assert card_spread(logs, HERE, Conditions()) != ""
