"""The section on bits: what is chosen where nothing is given, and what is shown of a bits.json."""

from __future__ import annotations

from dataclasses import replace
from math import fsum
from pathlib import Path

import pytest

from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits
from profiler.allocation.launches import launches
from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.errors import InvalidFile
from profiler.frontend import load_network
from profiler.report.content.front import FrontFigure
from profiler.report.content.report import Section
from profiler.report_stages.allocations import Mixed, allocation_section, mixed_of
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.subject import subject_of
from profiler.units import format_duration
from tests.report.stages.cases import HOST, SHAPES, Place, chain, place, rows_of_network, sensitivities

NETWORK = chain(("one", "two", "three", "four", "five"))


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return place(tmp_path, NETWORK)


def mixed(there: Place, **changes: object) -> Mixed:
    asked = there.request(**{"sensitivity": sensitivities(there), **changes})
    return mixed_of(subject_of(asked), asked)


def chosen(there: Place, *forbid: str) -> Path:
    """A bits.json of the network's own table."""
    out = there.folder / "bits.json"
    asked = AllocateRequest(str(there.model), lut=there.table, sensitivity=sensitivities(there), forbid=forbid)
    allocate(replace(asked, batch=1, out=out))
    return out


def total_s(there: Place, bits: Bits) -> float:
    """By the rows of the table."""
    seconds = {one.spec: one.latency_median_s for one in rows_of_network(there.network)}
    return fsum(seconds[launch.spec] for launch in launches(there.network, bits))


def figure(section: Section) -> FrontFigure:
    assert isinstance(section.figure, FrontFigure)
    return section.figure


def test_without_bits_one_is_chosen_half_way(there: Place) -> None:
    """Half-way between all INT8 and all INT4, but for the first and the last layer, which stay wide."""
    found = mixed(there)
    assert found.bits is not None
    assert found.allocation is not None
    assert found.allocation.front is not None
    times = [point.latency_s for point in found.allocation.front.points]
    (end,) = found.allocation.ends
    assert end.wide == max(times)
    assert min(times) <= end.narrow < end.wide
    assert found.bits.latency.total_s <= (end.narrow + end.wide) / 2
    assert [layer.fixed for layer in found.bits.layers] == [True, False, False, False, False, True]
    assert found.bits.latency.total_s == pytest.approx(total_s(there, found.bits))
    assert {layer.precision for layer in found.bits.layers} == {"int8", "int4"}
    section = allocation_section(found)
    assert format_duration(found.bits.latency.total_s) in section.lead
    assert figure(section).chosen in figure(section).points
    assert len(section.tables[0].table.rows) == len(figure(section).points) == len(times)


def test_points_go_from_the_least_sensitive_to_the_fastest(there: Place) -> None:
    points = figure(allocation_section(mixed(there))).points
    assert [p.sensitivity for p in points] == sorted(p.sensitivity for p in points)
    assert [p.amount for p in points] == sorted((p.amount for p in points), reverse=True)


def test_given_bits_are_shown_at_the_prices_of_this_table(there: Place) -> None:
    """Chosen for another device and batch, by other sensitivities: its figures are not those of this report."""
    path = chosen(there, "two=int8", "three=int8")
    own = bits_file.load(path)
    latency = replace(own.latency, total_s=1.0, measured_s=1.0, bound_s=1.0)
    other = replace(
        own,
        latency=latency,
        device="t4",
        device_name="Another card",
        fingerprint="ffffffff",
        batch=8,
        sensitivity_source="another source",
        lut="another.csv",
    )
    bits_file.save(path, other)
    found = mixed(there, bits=path)
    section = allocation_section(found)
    assert found.name == "mixed (bits.json)"
    assert format_duration(total_s(there, own)) in section.lead
    assert "1 s" not in section.lead
    assert figure(section).title == "chain, batch 1, Invented CPU"
    assert "Sensitivity: invented." in section.notes
    assert "The bits of mixed (bits.json) have sensitivities of another source: another source." in section.notes
    assert any("another.csv (Another card, batch 8)" in note for note in section.notes)
    assert found.bits == other


def beside_the_front(there: Place) -> Path:
    """Bits that another allocation beats in both: the layer alone in INT4 whose sensitivity buys the least."""
    precisions = {point.precisions for point in figure(allocation_section(mixed(there))).points}
    names = [layer.name for layer in NETWORK.weighted_layers][1:-1]
    for name in names:
        path = chosen(there, f"{name}=int8", *(f"{other}=int4" for other in names if other != name))
        if tuple(layer.precision for layer in bits_file.load(path).layers) not in precisions:
            return path
    raise AssertionError("every layer alone is on the front")


def test_bits_that_are_not_on_the_front_lie_beside_it(there: Place) -> None:
    path = beside_the_front(there)
    own = bits_file.load(path)
    section = allocation_section(mixed(there, bits=path))
    point = figure(section).chosen
    assert point is not None
    assert point not in figure(section).points
    assert point.precisions == tuple(layer.precision for layer in own.layers)
    assert point.sensitivity == pytest.approx(own.sensitivity)
    assert point.amount == pytest.approx(1e3 * total_s(there, own))  # milliseconds
    better = [p for p in figure(section).points if p.amount <= point.amount and p.sensitivity <= point.sensitivity]
    assert better
    assert "allocations. Shown beside them, mixed (bits.json): " in section.lead


def test_sensitivities_of_another_source_have_no_place_beside_the_front(there: Place) -> None:
    """Two scales on one axis."""
    path = beside_the_front(there)
    bits_file.save(path, replace(bits_file.load(path), sensitivity_source="another"))
    section = allocation_section(mixed(there, bits=path))
    assert figure(section).chosen is None
    assert "allocations. Not shown beside them, mixed (bits.json): " in section.lead
    assert "The bits of mixed (bits.json) have sensitivities of another source: another." in section.notes


def test_bits_without_all_their_rows_have_no_place_beside_the_front(there: Place) -> None:
    """What is left of the sum is no latency: it would lie left of every point."""
    path = beside_the_front(there)
    own = bits_file.load(path)
    narrow = next(layer.name for layer in own.layers if layer.precision == "int4")
    needed = {launch.spec for launch in launches(NETWORK, own) if launch.layer == narrow}
    rows = [one for one in rows_of_network(NETWORK) if one.spec not in needed]
    part = place(there.folder / "part", NETWORK, rows)
    section = allocation_section(mixed(part, bits=path))
    assert figure(section).chosen is None
    assert "Not shown beside them" in section.lead
    notes = [note for note in section.notes if "not in the latency of mixed (bits.json)" in note]
    assert len(notes) == 1
    assert narrow in notes[0]


def test_the_lead_says_what_was_asked_of_the_chosen_one(there: Place) -> None:
    found = mixed(there)
    assert found.bits is not None
    (limit,) = found.bits.limits
    takes = format_duration(found.bits.latency.total_s)
    wide = sum(layer.precision == "int8" for layer in found.bits.layers)
    assert allocation_section(found).lead.endswith(
        f"Shown beside them, the best within {format_duration(limit.most)}: {takes} with {wide} of 6 layers in INT8."
    )


def test_the_axis_of_bare_kernels_says_so(there: Place) -> None:
    asked = ReportRequest(device="t4", folder=there.folder / "nothing")
    assert figure(allocation_section(mixed_of(subject_of(asked), asked))).axis == "latency of bare kernels (ms)"
    assert figure(allocation_section(mixed(there))).axis == "latency (ms)"


def test_own_bits_have_nothing_to_explain(there: Place) -> None:
    path = chosen(there, "two=int8")
    section = allocation_section(mixed(there, bits=path))
    assert not any("chosen by" in note for note in section.notes)
    assert "with 5 of 6 layers in INT8" in section.lead


def test_bits_without_any_allocation_are_shown_all_the_same(there: Place) -> None:
    """A network file has no weights and here nobody gives sensitivities; the mixed network is that of the user."""
    path = chosen(there)
    asked = there.request(bits=path)
    found = mixed_of(subject_of(asked), asked)
    assert found.course == ("mixed (bits.json)", bits_file.load(path))
    assert allocation_section(found).figure is None


def test_bits_of_another_network_are_refused(there: Place, tmp_path: Path) -> None:
    path = chosen(there)
    other = place(tmp_path / "other", chain(("one", "two"), name="short"))
    with pytest.raises(InvalidFile, match="the bits are of network 'chain', not of 'short'"):
        mixed(other, bits=path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "lowbit-profiler bits", "version": 7}'])
def test_damaged_bits_are_refused(there: Place, text: str) -> None:
    path = there.folder / "bits.json"
    path.write_text(text)
    with pytest.raises(InvalidFile, match=r"bits\.json"):
        mixed(there, bits=path)


def test_bits_that_are_not_there_are_refused(there: Place) -> None:
    with pytest.raises(InvalidFile, match="cannot be read"):
        mixed(there, bits=there.folder / "none.json")


def test_sensitivities_that_are_named_and_not_there_are_refused(there: Place) -> None:
    """They are not left out quietly."""
    with pytest.raises(InvalidFile, match=r"none\.csv: cannot be read"):
        mixed(there, sensitivity=str(there.folder / "none.csv"))


def test_a_network_without_weights_says_what_to_do(there: Place) -> None:
    """As `profile` keeps one that came from ONNX: the report is made, and names no folder of this machine."""
    found = mixed(there, sensitivity=None)
    assert found.bits is None
    assert "model.json: has no weights; give the model itself" in found.reason
    assert str(there.folder) not in found.reason
    section = allocation_section(found)
    assert section.figure is None
    assert section.notes == (f"No allocation: {found.reason}.",)


def test_a_table_without_mixed_kernels_names_what_lacks() -> None:
    """Of both uniform networks all is known, but not of INT4 next to a first and a last layer that stay in INT8."""
    asked = ReportRequest(lut=SHAPES)
    found = mixed_of(subject_of(asked), asked)
    assert found.bits is None
    assert "the first and the last layer stay in INT8" in found.reason
    assert "combinations of precisions lack a price" in found.reason


def test_gaps_stay_wide(there: Place) -> None:
    """A layer without an INT4 row: it is not refused, and not chosen."""
    rows = [one for one in rows_of_network(NETWORK) if one.spec.workload.op.value != "dense" or one.spec.weight_dtype]
    without = [one for one in rows if not (one.spec.workload.op.value == "dense" and one.spec.input_dtype.bits == 4)]
    found = mixed(place(there.folder / "gaps", NETWORK, without))
    assert found.bits is not None
    assert found.bits.precision_of("classifier").name == "int8"


def test_the_recorded_host_is_where_allocate_puts_it() -> None:
    """ResNet18, 24 layers at most: the front is exact, and its ends are what `allocate` says."""
    asked = ReportRequest(lut=HOST)
    found = mixed_of(subject_of(asked), asked)
    again = allocate(AllocateRequest("resnet18", lut=HOST))
    end = again.ends[0]
    assert found.allocation is not None
    assert found.allocation.front is not None
    assert found.allocation.front.exact
    assert found.bits is not None
    (limit,) = found.bits.limits
    fast = end.narrow if end.narrow < end.wide else end.least
    assert limit.most == pytest.approx((fast + end.wide) / 2)
    assert min(p.latency_s for p in found.allocation.front.points) == pytest.approx(end.least)
    assert [layer.name for layer in found.bits.layers] == [
        layer.name for layer in load_network("resnet18", 1).weighted_layers
    ]
