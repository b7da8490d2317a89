"""The section on where the time of a network goes."""

from __future__ import annotations

from collections.abc import Iterator

from profiler.allocation.bits_file import Bits
from profiler.allocation.launches import Purpose, launches
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.time_course import Course, TimeCourses, TimedKernel, Work, summary_of, table_of
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import label
from profiler.units import format_duration
from profiler.workload import KernelSpec, Op, Precision

_WORKS = {
    Op.CONV2D: Work.CONVOLUTION,
    Op.DENSE: Work.DENSE,
    Op.ADD: Work.ADDITION,
    Op.MAX_POOL: Work.POOLING,
    Op.AVG_POOL: Work.POOLING,
    Op.CONCAT: Work.CONCATENATION,
    Op.CONVERT: Work.CONVERSION,
    Op.RELAYOUT: Work.CONVERSION,
}


def courses_of(subject: Subject, mixed: tuple[str, Bits] | None) -> TimeCourses:
    """The uniform networks, and a mixed one under its name: over the layers that all of them have, so that their times
    can be compared."""
    layers = tuple(map(label, subject.units))
    courses = [_uniform(subject, precision) for precision in subject.precisions]
    if mixed is not None:
        courses.append(_mixed(subject, *mixed))
    courses = [course for course in courses if course.kernels]
    left_out = {name for course in courses for name in course.unpriced}
    unpriced = tuple(name for name in layers if name in left_out)
    return TimeCourses(
        layers,
        tuple(
            Course(course.name, tuple(k for k in course.kernels if layers[k.place] not in left_out), unpriced)
            for course in courses
        ),
    )


def course_section(subject: Subject, courses: TimeCourses, without_mixed: str) -> Section:
    """``without_mixed`` says why there is no mixed network, where there is none."""
    if not any(course.kernels for course in courses.courses):
        names = " and ".join(course.name for course in courses.courses)
        note = f"No layer has a latency in all of {names}." if names else "The table has no latency of any layer."
        return Section("time", "Where the time goes", "", None, notes=(note,))
    totals = ", ".join(_total(courses, course) for course in courses.courses)
    return Section(
        name="time",
        title="Where the time goes",
        lead=f"The kernels of the network, one after the other: {totals}.",
        figure=courses,
        alt=f"Cumulative time over the layers of the network, and the share of each kind of kernel; {totals}.",
        tables=(
            NamedTable("time-summary", "Time by kind of kernel", summary_of(courses)),
            NamedTable("time", "Time by kernel", table_of(courses), shown=False),
        ),
        notes=tuple(_notes(subject, courses, without_mixed)),
    )


def _total(courses: TimeCourses, course: Course) -> str:
    """A part of a network is not mistaken for a whole one."""
    part = f" ({courses.priced(course)} of {len(courses.layers)} layers)" if course.unpriced else ""
    return f"{course.name} {format_duration(course.total_s)}{part}"


def _uniform(subject: Subject, precision: Precision) -> Course:
    kernels, unpriced = [], []
    for place, unit in enumerate(subject.units):
        time = subject.time(unit, precision)
        if time.way is None:
            unpriced.append(label(unit))
            continue
        for kernel in time.way.kernels:
            latency_s = subject.priced.prices[kernel.spec].latency_s
            kernels.append(TimedKernel(place, kernel.layer, _work(kernel.spec), latency_s))
    return Course(precision.name.upper(), tuple(kernels), tuple(unpriced))


def _mixed(subject: Subject, name: str, bits: Bits) -> Course:
    prices = subject.priced.prices
    places = {unit.layer.name: place for place, unit in enumerate(subject.units)}
    kernels = []
    unpriced: dict[str, None] = {}
    for launch in launches(subject.network, bits):
        if launch.spec not in prices:
            unpriced[label(launch.unit)] = None
            continue
        what = f"conversion for {launch.layer}" if launch.purpose is Purpose.CONVERSION else launch.layer
        place, latency_s = places[launch.unit.layer.name], prices[launch.spec].latency_s
        kernels.append(TimedKernel(place, what, _work(launch.spec), latency_s))
    kernels.sort(key=lambda kernel: kernel.place)  # as the uniform networks, whatever order they run in
    return Course(name, tuple(kernels), tuple(unpriced))


def _work(spec: KernelSpec) -> Work:
    return _WORKS[spec.workload.op]


def _notes(subject: Subject, courses: TimeCourses, without_mixed: str) -> Iterator[str]:
    if without_mixed:
        yield f"No mixed network is shown: {without_mixed}"
    if subject.priced.kernel_only:
        yield "Bare kernels: bias, requantization, ReLU and additions are not in these times, nor are conversions."
    else:
        yield "A fused addition is part of its convolution's time."
    for name in courses.courses[0].unpriced:
        yield f"Not in any of these times: {name}, {_elsewhere(subject, name)}."


def _elsewhere(subject: Subject, name: str) -> str:
    """What is known of a layer that has no latency in one of the precisions."""
    unit = next(unit for unit in subject.units if label(unit) == name)
    known = [(p.name.upper(), span) for p in subject.precisions if (span := subject.time(unit, p).span) is not None]
    if not known:
        return "which has no row"
    if len(known) == len(subject.precisions):
        return "of which a kernel of the mixed network has no row"
    return "which has only " + " and ".join(f"{format_duration(s.latency_s)} in {name}" for name, s in known)
