"""What others published, beside this table: only of the same work, with the figures of their files."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum
from pathlib import Path

import pandas as pd
import pytest

from profiler.frontend import load_network
from profiler.lut.table import network_table
from profiler.report.content.published import Published, layers_of, networks_of
from profiler.report.content.report import Section
from profiler.report_stages.publisheds import published_section
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.subject import Subject, subject_of
from profiler.workload import INT4, INT8, KernelSpec
from tests.report.stages.cases import CARD, HOST, ROOT, T4, Place, place, rows_of_network

NETWORKS = ROOT / "profiler/report_stages/published/t4_hawqv3_networks.csv"


def figure(section: Section) -> Published:
    assert isinstance(section.figure, Published)
    return section.figure


@pytest.fixture(scope="module")
def own_card(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Somebody's own run of ResNet18 at batch 8 on a T4."""
    network = load_network("resnet18", 8)
    return place(tmp_path_factory.mktemp("card"), network, rows_of_network(network, instrument=CARD))


def test_published_kernels_stand_beside_own_ones(own_card: Place) -> None:
    section = published_section(own_card.subject(model="resnet18"))
    found = figure(section)
    frame = pd.read_csv(T4)
    seconds = {one.spec: one.latency_median_s for one in rows_of_network(own_card.network, instrument=CARD)}
    assert not any(layer.bare for layer in found.layers)
    assert {layer.ours.latency_s for layer in found.layers} <= set(seconds.values())
    by_name = {(layer.layer, layer.precision): layer for layer in found.layers}
    for name, shape, weights in (
        ("layer1.0.conv1", (56, 64, 64, 3, 1), ("int8", "int4")),
        ("layer4.0.downsample", (14, 256, 512, 1, 2), ("int8", "int4")),
        ("conv1", (224, 3, 64, 7, 2), ("int8",)),
    ):
        columns = ["in_height", "in_channels", "out_channels", "kernel_h", "stride_h"]
        mine = frame[(frame.op == "conv2d") & (frame[columns] == list(shape)).all(axis=1)]
        for dtype in weights:
            line = by_name[name, dtype.upper()]
            assert line.theirs_s == float(mine[mine.weight_dtype == dtype].latency_median_s.min())
    assert ("conv1", "INT4") not in by_name  # nobody published it
    lines = pd.DataFrame(layers_of(found).rows, columns=[column.name for column in layers_of(found).columns])
    assert lines.ours_over_theirs.to_numpy() == pytest.approx((lines.ours_s / lines.theirs_s).to_numpy())
    assert any("arXiv 2011.10680" in note for note in section.notes)
    assert any("bare convolutions with hot caches" in note for note in section.notes)


def test_end_to_end_latencies_are_those_of_the_file_and_the_printed_table(own_card: Place) -> None:
    about = own_card.subject(model="resnet18")
    found = figure(published_section(about))
    theirs = pd.read_csv(NETWORKS)
    theirs = theirs[theirs.network == "resnet18"].set_index("configuration")
    assert [network.configuration for network in found.networks] == list(theirs.index)
    sums = uniform_sums(about, {r.spec: r.latency_median_s for r in about.rows})
    for network in found.networks:
        line = theirs.loc[network.configuration]
        assert (network.theirs_s, network.top1_percent) == (line.end_to_end_latency_s, line.top1_percent)
        uniform = sums.get(network.configuration)
        assert network.sum_s == (None if uniform is None else pytest.approx(uniform))
        assert network.priced == (0 if uniform is None else 23)
    assert len(networks_of(found).rows) == 11


def uniform_sums(about: Subject, seconds: Mapping[KernelSpec, float]) -> dict[str, float]:
    """By the lines of the printed table: HAWQ-V3 (section 5) keeps the first and the last layer in 8 bits."""
    table = network_table(about.network, (INT8, INT4), seconds)
    assert [line.layers for line in (table.rows[0], table.rows[-1])] == [("conv1",), ("fc",)]
    wide, narrow = ([line.cells[index].latency_s or 0 for line in table.rows] for index in (0, 1))
    return {"uniform8": fsum(wide), "uniform4": fsum([wide[0], *narrow[1:-1], wide[-1]])}


def test_the_ends_are_in_8_bits_whatever_the_others_are_compared_with(own_card: Place) -> None:
    sums = [
        {network.configuration: network.sum_s for network in figure(published_section(about)).networks}
        for about in (
            own_card.subject(model="resnet18"),
            own_card.subject(model="resnet18", precisions=(INT4, INT8)),
        )
    ]
    assert sums[0] == pytest.approx(sums[1])


def test_what_a_sum_is_of_is_told(own_card: Place) -> None:
    notes = published_section(own_card.subject(model="resnet18")).notes
    assert "As in HAWQ-V3 the first and the last layer are in INT8, also in the sum beside uniform4." in notes


def test_the_file_agrees_with_what_the_paper_says_of_it() -> None:
    """Its abstract: ResNet50 in INT4 is 1.45 times as fast as in INT8 on a T4."""
    seconds = pd.read_csv(NETWORKS).set_index(["network", "configuration"]).end_to_end_latency_s
    assert seconds["resnet50", "uniform8"] / seconds["resnet50", "uniform4"] == pytest.approx(1.45, abs=0.005)
    assert len(seconds) == 22


def test_bare_kernels_are_not_set_beside_themselves() -> None:
    """The report of the published table itself: only the networks, and how many layers a sum has."""
    about = subject_of(ReportRequest(lut=T4))
    section = published_section(about)
    found = figure(section)
    assert found.layers == ()
    frame = pd.read_csv(NETWORKS)
    end_to_end = float(
        frame[(frame.network == "resnet18") & (frame.configuration == "uniform4")].end_to_end_latency_s.iloc[0]
    )
    network = next(network for network in found.networks if network.configuration == "uniform4")
    assert (network.theirs_s, network.priced, network.lines) == (end_to_end, 21, 23)  # but for the pools
    seconds = {spec: price.latency_s for spec, price in about.priced.prices.items()}
    assert network.sum_s == pytest.approx(uniform_sums(about, seconds)["uniform4"])
    assert f"uniform4 {network.sum_s / end_to_end:.0%} (with 21 of 23 layers)" in section.lead


def test_other_work_is_not_compared() -> None:
    section = published_section(subject_of(ReportRequest(lut=HOST)))
    assert section.figure is None
    assert section.notes[-1].startswith("Nothing that was published is of this work (resnet18, batch 1)")


def test_another_device_is_named(tmp_path: Path) -> None:
    network = load_network("resnet18", 8)
    section = published_section(place(tmp_path, network, rows_of_network(network)).subject(model="resnet18"))
    assert any(
        note == "The published figures are of a Tesla T4, those of this table of Invented CPU."
        for note in section.notes
    )


def test_it_is_the_same_in_whatever_folder_the_command_runs(
    own_card: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = published_section(own_card.subject(model="resnet18"))
    monkeypatch.chdir(tmp_path)
    assert published_section(own_card.subject(model="resnet18")) == here
