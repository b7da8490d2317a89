"""From sums of kernels to latencies of networks: known lines, and the file of measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.allocation.calibration import Calibration, EndToEnd, calibrate, read_end_to_end
from profiler.errors import InvalidFile

HEADER = "network,batch,fingerprint,lut_sum_s,latency_s"


def test_points_on_a_line_give_that_line() -> None:
    sums = (1e-3, 2e-3, 5e-3)
    found = calibrate([EndToEnd(s, 3e-4 + 1.25 * s) for s in sums])
    assert found.offset_s == pytest.approx(3e-4, rel=1e-9)
    assert found.slope == pytest.approx(1.25, rel=1e-9)
    assert found.points == 3
    assert found.worst < 1e-12


def test_one_point_gives_a_slope_alone() -> None:
    assert calibrate([EndToEnd(2e-3, 3e-3)]) == Calibration(0.0, 1.5, 1, 0.0)


def test_points_of_one_sum_give_the_slope_of_their_mean() -> None:
    found = calibrate([EndToEnd(2.0, 3.0), EndToEnd(2.0, 5.0)])
    assert (found.offset_s, found.slope) == (0.0, 2.0)
    assert found.worst == pytest.approx(1 / 3)  # 4 said of 3


def test_points_beside_a_line_are_fitted_by_least_squares() -> None:
    """By hand: means 2 and 3, slope sum(dx dy) / sum(dx^2) = 1.5, residuals 0.25, -0.5, 0.25."""
    found = calibrate([EndToEnd(1.0, 1.75), EndToEnd(2.0, 2.5), EndToEnd(3.0, 4.75)])
    assert found.slope == pytest.approx(1.5)
    assert found.offset_s == pytest.approx(0.0, abs=1e-12)
    assert found.worst == pytest.approx(0.2)  # 3 said of 2.5


def test_a_network_that_gets_faster_with_slower_kernels_contradicts_the_model() -> None:
    with pytest.raises(ValueError, match="do not grow"):
        calibrate([EndToEnd(1.0, 2.0), EndToEnd(2.0, 1.0)])
    with pytest.raises(ValueError, match="do not grow"):
        calibrate([EndToEnd(1.0, 2.0), EndToEnd(2.0, 2.0)])


def test_sums_and_latencies_are_inverse() -> None:
    found = Calibration(2e-4, 1.1, 2, 0.0)
    assert found.latency_s(1e-3) == pytest.approx(1.3e-3)
    assert found.sum_s(1.3e-3) == pytest.approx(1e-3)


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "end_to_end.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_measurements_of_one_network_on_one_instrument(tmp_path: Path) -> None:
    path = _file(
        tmp_path, HEADER,
        "resnet18,8,abc,0.001,0.0012",
        "resnet50,8,abc,0.003,0.0033",
        "resnet18,1,abc,0.0005,0.0006",
        "resnet18,8,other,0.001,0.002",
        "resnet18,8,abc,2e-3,0.0023",
    )  # fmt: skip
    assert read_end_to_end(path, "resnet18", 8, "abc") == (EndToEnd(0.001, 0.0012), EndToEnd(0.002, 0.0023))
    assert read_end_to_end(path, "resnet50", 8, "abc") == (EndToEnd(0.003, 0.0033),)


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "end_to_end.csv"
    path.write_bytes(
        b"\xef\xbb\xbflatency_s,note,network,fingerprint,batch,lut_sum_s\r\n"
        b'0.5,"a, b\nc",net,abc,2,0.25\r\n'
    )  # fmt: skip
    assert read_end_to_end(path, "net", 2, "abc") == (EndToEnd(0.25, 0.5),)


@pytest.mark.parametrize("column", HEADER.split(","))
def test_missing_columns_are_refused(tmp_path: Path, column: str) -> None:
    path = _file(tmp_path, HEADER.replace(column, "x"), "net,1,abc,1,1")
    with pytest.raises(InvalidFile, match=f"line 1: missing column {column}"):
        read_end_to_end(path, "net", 1, "abc")


@pytest.mark.parametrize("wrong", ["", "fast", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("column", ["lut_sum_s", "latency_s"])
def test_wrong_seconds_are_refused_with_their_line(tmp_path: Path, column: str, wrong: str) -> None:
    """Even in lines of other networks: a file that is damaged somewhere is not to be trusted elsewhere."""
    cells = {"lut_sum_s": "1", "latency_s": "1", column: wrong}
    path = _file(tmp_path, HEADER, "net,1,abc,1,1", f"other,1,abc,{cells['lut_sum_s']},{cells['latency_s']}")
    with pytest.raises(InvalidFile) as error:
        read_end_to_end(path, "net", 1, "abc")
    assert str(error.value) == f"{path}, line 3, {column}: '{wrong}' is not a positive number of seconds"


def test_short_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="line 2, latency_s"):
        read_end_to_end(_file(tmp_path, HEADER, "net,1,abc,1"), "net", 1, "abc")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "line 1: missing column network"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (f'{HEADER}\nnet,1,abc,1,"1\n'.encode(), "is not CSV"),
        (f"{HEADER}\n".encode(), "no measurement of net, batch 1, on instrument abc"),
        (f"{HEADER}\nnet,1,abd,1,1\n".encode(), "no measurement of net, batch 1, on instrument abc"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "end_to_end.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidFile) as error:
        read_end_to_end(path, "net", 1, "abc")
    assert str(error.value).startswith(str(path))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="cannot be read"):
        read_end_to_end(tmp_path / "nowhere.csv", "net", 1, "abc")
