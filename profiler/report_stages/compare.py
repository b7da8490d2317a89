"""From two LUTs to their comparison, and to its files: CSV, Markdown, and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.lut.comparison import RowPair, join, subject
from profiler.lut.schema import LutRow, Source
from profiler.lut.store import read
from profiler.output_folder import removed_if_empty, require_writable, write_whole
from profiler.predictor.kernel_only import KernelOnly
from profiler.report.content.comparison import ComparedKernel, ComparedTable, Comparison, Noise, summary_of, table_of
from profiler.report.content.table import markdown_text, to_csv, to_markdown
from profiler.report_stages.compare_labels import group_of, labels_of
from profiler.report_stages.compare_noise import noise_between
from profiler.report_stages.compare_notes import notes_of
from profiler.report_stages.words import days_of
from profiler.verdict import MARGIN, Ratio, Span, Verdict, judge, ratio

CSV, MARKDOWN, SVG, PNG = "comparison.csv", "comparison.md", "comparison.svg", "comparison.png"


@dataclass(frozen=True)
class CompareRequest:
    """What a user asks of `compare`. ``out`` is the folder of the files, None for one below ``reports/``; ``noise``
    as in `profiler.verdict.ratio`, None to find it. Raises `ProfilerError` for a margin or noise that is none."""

    a: Path
    b: Path
    out: Path | None = None
    margin: float = MARGIN
    noise: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise ProfilerError(f"the margin is a fraction between 0 and 1, e.g. 0.1, not {self.margin:g}")
        if self.noise is not None and not 0 <= self.noise < 1:
            raise ProfilerError(f"the noise is a fraction from 0 to 1, e.g. 0.02 for 2%, not {self.noise:g}")

    @property
    def folder(self) -> Path:
        return self.out if self.out is not None else Path("reports") / f"compare-{self.a.stem}-{self.b.stem}"


@dataclass(frozen=True)
class CompareResult:
    """A comparison, and the files that hold it."""

    comparison: Comparison
    files: tuple[Path, ...]


def compare(request: CompareRequest) -> CompareResult:
    """Compare, draw and write. Raises `ProfilerError` for whatever the user can mend; then nothing is written."""
    comparison = compared(request)
    from profiler.report.figures import render  # matplotlib takes a second to import

    with removed_if_empty(request.folder):
        _require(request.folder)
        contents = {
            CSV: to_csv(table_of(comparison)).encode(),  # first: it tells later runs whose folder this is
            MARKDOWN: _markdown(comparison).encode(errors="backslashreplace"),
            SVG: render(comparison, "svg"),
            PNG: render(comparison, "png"),
        }
    files = tuple(request.folder / name for name in contents)
    for path, data in zip(files, contents.values(), strict=True):
        write_whole(path, data)
    return CompareResult(comparison, files)


def compared(request: CompareRequest) -> Comparison:
    """What the files say. Raises `InvalidFile` for a table that is damaged or holds nothing to compare, and the errors
    of `side_by_side`."""
    a, b = _rows(request.a), _rows(request.b)
    return side_by_side(request, a, b, noise_between(request.a, a, request.b, b, request.noise))


def side_by_side(request: CompareRequest, a: Sequence[LutRow], b: Sequence[LutRow], noise: Noise) -> Comparison:
    """Of rows; the request names them and says the margin. Raises `ProfilerError` for tables that have no kernel in
    common."""
    joined = join(a, b)
    if not joined.pairs:
        raise ProfilerError(
            f"{request.a} and {request.b} have no kernel in common under the same conditions: one has {_subject(a)}, "
            f"the other {_subject(b)}; compare tables of one model with the same batch, threads and cache mode"
        )
    labels = labels_of(pair.a for pair in joined.pairs)
    kernels = [
        _kernel(pair, label, noise.sigma, request.margin) for pair, label in zip(joined.pairs, labels, strict=True)
    ]
    kernels.sort(key=lambda kernel: (-kernel.ratio.value, kernel.label))
    return Comparison(
        a=_table(_told(request.a, request.b), [pair.a for pair in joined.pairs]),
        b=_table(_told(request.b, request.a), [pair.b for pair in joined.pairs]),
        kernels=tuple(kernels),
        only_a=joined.only_a,
        only_b=joined.only_b,
        noise=noise,
        margin=request.margin,
        notes=tuple(notes_of(a, b, joined, kernels, noise, request.margin)),
    )


def _rows(path: Path) -> tuple[LutRow, ...]:
    rows = read(path)
    if all(row.source is Source.PREDICTED for row in rows):
        what = "only predicted rows, which are not compared" if rows else "no row"
        raise InvalidFile(f"{path}: holds {what}; give the LUT of a run, or a published one")
    return rows


def _subject(rows: Sequence[LutRow]) -> str:
    rows = [row for row in rows if row.source is not Source.PREDICTED]
    bare = KernelOnly.of([row.spec for row in rows]) is not None
    return subject(rows) + (", bare kernels (no epilogue), which are not compared with fused ones" if bare else "")


def _kernel(pair: RowPair, label: str, noise: float, margin: float) -> ComparedKernel:
    a, b = _span(pair.a), _span(pair.b)
    if pair.once:
        found, verdict = Ratio(1.0, 1.0, 1.0), Verdict.SAME
    else:
        found = ratio(b, a, noise)
        verdict = judge(found, margin)
    return ComparedKernel(
        kernel=pair.a.spec.key,
        label=label,
        group=group_of(pair.a.spec),
        conditions=pair.a.conditions,
        a=a,
        b=b,
        ratio=found,
        verdict=verdict,
        same_config=pair.same_config,
        once=pair.once,
    )


def _span(row: LutRow) -> Span:
    low_s, high_s = row.latency_ci95_low_s, row.latency_ci95_high_s
    if low_s is None or high_s is None:
        return Span(row.latency_median_s, row.latency_median_s, row.latency_median_s, known=False)
    return Span(row.latency_median_s, low_s, high_s)


def _told(path: Path, other: Path) -> str:
    """As much of the path's end as tells it from the other one: files go by their names, wherever they lie."""
    ends = [str(Path(*path.parts[-count:])) for count in range(1, len(path.parts) + 1)]
    others = {str(Path(*other.parts[-count:])) for count in range(1, len(other.parts) + 1)}
    return next((end for end in ends if end not in others), path.name)


def _table(told: str, rows: Sequence[LutRow]) -> ComparedTable:
    row = rows[0]
    return ComparedTable(
        told, row.device_name or row.device, row.fingerprint, days_of((r.measured_at for r in rows), "no date")
    )


def _require(folder: Path) -> None:
    """Raises `OutputError` where the files cannot be written, or would replace what is no comparison."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder with --out (make: TO=)")
    present = [name for name in (CSV, MARKDOWN, SVG, PNG) if (folder / name).exists()]
    if any((folder / name).is_dir() for name in present) or (present and not _is_ours(folder / CSV)):
        raise OutputError(
            f"{folder / present[0]}: is there and is not of a comparison, which would replace it; choose another "
            "folder with --out (make: TO=)"
        )
    require_writable(folder, "TO")


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).startswith(b"kernel,threads,cache_mode,a_s,")
    except OSError:
        return False


def _markdown(comparison: Comparison) -> str:
    noise = comparison.noise
    lines = [
        "# Comparison of two tables of latencies",
        "",
        markdown_text(comparison.headline) + ".",
        "",
        f"- A: {markdown_text(comparison.a.title)}",
        f"- B: {markdown_text(comparison.b.title)}",
        f"- margin: {markdown_text(f'{comparison.margin:.1%}')}",
        f"- noise from run to run: {markdown_text(f'{noise.sigma:.1%}, {noise.origin}')}",
        "",
        *(f"- {markdown_text(note)}" for note in comparison.notes),
        *([""] if comparison.notes else []),
        f"![B / A of each kernel]({SVG})",
        "",
        to_markdown(summary_of(comparison)),
        to_markdown(table_of(comparison)),
    ]
    return "\n".join(lines).rstrip() + "\n"
