"""A comparison of two tables, for programs: plain SI numbers, null where there is nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from profiler.report.content.comparison import ComparedKernel
from profiler.report_stages.compare import CompareResult
from profiler.verdict import Span, Verdict

Json = dict[str, Any]


def comparison_json(result: CompareResult) -> Json:
    """One object per kernel, from the one that is slowest in B, compared with A, to the fastest.

    ``slower_on_the_whole`` and ``slowdowns`` are what ``--fail-if-slower`` fails for.
    """
    comparison = result.comparison
    return {
        "a": asdict(comparison.a),
        "b": asdict(comparison.b),
        "notes": list(comparison.notes),
        "margin": comparison.margin,
        "noise": asdict(comparison.noise),
        "geometric_mean": asdict(comparison.geometric_mean),
        "verdict": comparison.verdict.value,
        "counts": {verdict.value: comparison.count(verdict) for verdict in Verdict},
        "slower_on_the_whole": comparison.slower_on_the_whole,
        "slowdowns": [kernel.label for kernel in comparison.slowdowns],
        "only_a": comparison.only_a,
        "only_b": comparison.only_b,
        "kernels": [_kernel(kernel) for kernel in comparison.kernels],
        "files": [str(path) for path in result.files],
    }


def _kernel(kernel: ComparedKernel) -> Json:
    return {
        "kernel": kernel.kernel,
        "label": kernel.label,
        "group": kernel.group,
        "threads": kernel.conditions.threads,
        "cache_mode": kernel.conditions.cache_mode.value,
        "a": _span(kernel.a),
        "b": _span(kernel.b),
        "ratio": asdict(kernel.ratio),
        "verdict": kernel.verdict.value,
        "same_config": kernel.same_config,
        "measured_once": kernel.once,
    }


def _span(span: Span) -> Json:
    return {
        "latency_s": span.latency_s,
        "low_s": span.low_s if span.known else None,
        "high_s": span.high_s if span.known else None,
    }
