"""Invented contents of figures: what a report of a network may well hold, and what it should hardly ever hold."""

from __future__ import annotations

import random
from dataclasses import replace

from profiler.report.content.front import FigurePoint, FrontFigure
from profiler.report.content.health import Health, KernelHealth
from profiler.report.content.prediction import PredictedKernel, Predictions, SplitError
from profiler.report.content.published import BesideLayer, BesideNetwork, Published
from profiler.report.content.roofline import Roof, Roofline, RooflinePoint
from profiler.report.content.speedup import LayerSpeedup, Speedups
from profiler.report.content.time_course import Course, TimeCourses, TimedKernel, Work
from profiler.report.content.tuning import Search, TuningHistory
from profiler.verdict import Span, Verdict, judge, ratio
from tests.report.examples import span

RESNET18 = (
    "conv1",
    "maxpool",
    *(
        f"layer{stage}.{block}.{part}"
        for stage in (1, 2, 3, 4)
        for block in (0, 1)
        for part in ("conv1", "conv2", *(("downsample",) if stage > 1 and block == 0 else ()))
    ),
    "avgpool",
    "fc",
)
MANY = tuple(
    f"Mixed_{block}.{branch}"
    for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
    for branch in (
        "branch1x1",
        "branch5x5_1",
        "branch5x5_2",
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        "branch3x3dbl_3",
        "branch7x7dbl_3",
        "pool",
        "branch_pool",
        "concat.0",
        "concat.1",
    )
)
"""121 layers, named as those of InceptionV3."""
HOSTILE = (
    "$x^2$ \\frac{1}{0}",
    "<b>bold</b><script>alert(1)</script>&amp;",
    "a name of far more than three hundred characters " * 7,
    "\u5c42\u4e00/\u7b2c\u4e8c",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\u202eright to left\u202c",
    "tab\tnull\x00bell\x07",
    "\U0001f600 \ud800 \ufffe",
    "",
    " ",
    "--><!-- ]]>",
    "%s %d {0} {x}",
    "_hidden",
)
"""Names as no network has them, and a file can hold them."""
CAUSES = (
    "moves as many bytes in both, and memory is the limit",
    "no 4-bit instruction: weights are unpacked to bytes first",
    "too small: launching takes most of the time",
    "its 3 input channels fill a quarter of a word",
)


def layer(name: str, wide_s: float | None, narrow_s: float | None, cause: str = "", half: float = 0.01) -> LayerSpeedup:
    wide = None if wide_s is None else span(wide_s, half)
    narrow = None if narrow_s is None else span(narrow_s, half)
    if wide is None or narrow is None:
        return LayerSpeedup(name, "conv2d", wide, narrow, None, None, "measured", cause)
    verdict = judge(ratio(narrow, wide, 0.01))
    shown = "" if verdict is Verdict.FASTER else cause
    return LayerSpeedup(name, "conv2d", wide, narrow, ratio(wide, narrow, 0.01), verdict, "measured", shown)


def speedups(names: tuple[str, ...] = RESNET18, seed: int = 1, center: float = 1.25, one: bool = False) -> Speedups:
    """With layers of every verdict, and two without a price."""
    chance = random.Random(seed)
    layers = []
    for index, name in enumerate(names):
        wide_s = 10 ** chance.uniform(-5.0, -3.5)
        narrow_s = wide_s / (center * 2 ** chance.gauss(0, 0.35))
        cause = CAUSES[1] if one else CAUSES[index // 2 % len(CAUSES)]
        if index == 0:
            layers.append(layer(name, wide_s, None, "no INT4 row"))
        elif index == 1:
            layers.append(layer(name, wide_s, wide_s * 1.002, cause))
        elif index == 4:
            layers.append(layer(name, wide_s, wide_s * 1.03, cause, half=0.08))
        else:
            layers.append(layer(name, wide_s, narrow_s, cause))
    return of_layers(tuple(layers))


def of_layers(layers: tuple[LayerSpeedup, ...], noise_ratio: float | None = 1.03) -> Speedups:
    priced = [(line.wide, line.narrow) for line in layers if line.wide is not None and line.narrow is not None]
    total = None
    if priced:
        total = ratio(Span.total(tuple(w for w, _ in priced)), Span.total(tuple(n for _, n in priced)))
    return Speedups("INT8", "INT4", layers, noise_ratio, total, len(priced))


def time_courses(names: tuple[str, ...] = RESNET18, seed: int = 2) -> TimeCourses:
    chance = random.Random(seed)
    base = [10 ** chance.uniform(-5.0, -3.6) for _ in names]

    def course(name: str, factor: float, conversions: bool) -> Course:
        kernels = []
        for place, layer_name in enumerate(names):
            work = Work.POOLING if "pool" in layer_name else Work.DENSE if layer_name == "fc" else Work.CONVOLUTION
            work = Work.CONCATENATION if "concat" in layer_name else work
            kernels.append(TimedKernel(place, layer_name, work, base[place] * factor * chance.uniform(0.9, 1.1)))
            if layer_name.endswith("conv2"):
                kernels.append(TimedKernel(place, f"{layer_name}.add", Work.ADDITION, base[place] * 0.12))
            if conversions and place % 5 == 3:
                kernels.append(TimedKernel(place, f"{layer_name} to INT8", Work.CONVERSION, base[place] * 0.1))
        return Course(name, tuple(kernels))

    return TimeCourses(names, (course("INT8", 1.0, False), course("INT4", 0.74, False), course("mixed", 0.8, True)))


def roofline(names: tuple[str, ...] = RESNET18, seed: int = 3) -> Roofline:
    chance = random.Random(seed)
    roofs = (Roof("INT8", 130e12, "data sheet of the card"), Roof("INT4", 260e12, "data sheet of the card"))
    points = []
    for name in names:
        ops = 10 ** chance.uniform(7.0, 9.3)
        moved = ops / 10 ** chance.uniform(0.8, 2.6)
        for roof, fewer in zip(roofs, (1.0, 0.5), strict=True):
            limit_s = max(ops / roof.ops_per_s, moved * fewer / 300e9)
            latency_s = limit_s * chance.uniform(1.4, 5.0) + 2e-6
            points.append(RooflinePoint(name, roof.precision, ops, moved * fewer, latency_s, limit_s))
    return Roofline(roofs, 300e9, "data sheet of the card", tuple(points))


def predictions(kernels: int = 104, seed: int = 4, noise_percent: float | None = 2.2) -> Predictions:
    chance = random.Random(seed)
    predicted = []
    for index in range(kernels):
        measured_s = 10 ** chance.uniform(-5.7, -3.2)
        value = measured_s * 2 ** chance.gauss(0, 0.07)
        wide = 1 + abs(chance.gauss(0.12, 0.08))
        far = index % 17 == 3
        predicted.append(PredictedKernel(f"k{index}", measured_s, value, value / wide, value * wide, far))
    splits = (
        SplitError("a network, three times", 308, 2.8, 4.7, 92.0, "94.5% (91.3 to 96.8)"),
        SplitError("an operator's shape, five folds", 150, 3.6, 6.9, 83.0, "91% (86 to 95)"),
        SplitError("large kernels", 41, 9.1, 14.2, 55.0, "80% (65 to 91)"),
    )
    noise = "two runs of 150 kernels on this machine, three weeks apart"
    return Predictions("gradient boosting", 90.0, tuple(predicted), splits, noise_percent, noise)


def front(names: tuple[str, ...] = RESNET18, points: int = 24, seed: int = 5) -> FrontFigure:
    chance = random.Random(seed)
    order = list(range(len(names)))
    chance.shuffle(order)
    found = []
    for index in range(points):
        narrow = set(order[: round(index / max(1, points - 1) * len(names))])
        precisions = tuple("int4" if row in narrow else "int8" for row in range(len(names)))
        found.append(FigurePoint(0.02 + 0.0015 * len(narrow) ** 1.7, 1.6 - 0.6 * len(narrow) / len(names), precisions))
    levels = (("all INT4", 1.0), ("0.25", 1.15), ("0.5", 1.3), ("0.75", 1.45), ("all INT8", 1.6))
    title = "resnet18, batch 1, AMD EPYC (26/2/1)"
    return FrontFigure(title, "latency (ms)", names, tuple(found), found[points // 3], levels)


def tuning(searches: int = 60, seed: int = 6, failures: bool = True) -> TuningHistory:
    chance = random.Random(seed)
    found = []
    for index in range(searches):
        trials = chance.choice((8, 16, 16, 24, 32))
        best_s, values = 10 ** chance.uniform(-5, -3), []
        level = best_s * (1 + chance.expovariate(1.2))
        for trial in range(trials):
            level = max(best_s, level - (level - best_s) * chance.choice((0, 0, 0.2, 0.6)))
            values.append(None if trial == 0 and index % 7 == 0 else level)
        precision = ("INT8", "INT4")[index % 2]
        found.append(Search(f"conv2d_{index}", (f"layer{index}",), precision, tuple(values), chance.randrange(4)))
    kinds = (("wrong output", 31), ("does not compile: register spills", 12), ("time limit", 3)) if failures else ()
    return TuningHistory(tuple(found), kinds)


def health(kernels: int = 150, seed: int = 7, gpu: bool = False, repeats: int = 0) -> Health:
    chance = random.Random(seed)
    found = []
    for index in range(kernels):
        clock = 3960 + chance.gauss(0, 25) if not gpu else chance.choice((1590, 1575, 1530))
        found.append(
            KernelHealth(
                kernel=f"conv2d_{index}",
                measured_at=1_795_000_000.0 + 7 * index,
                latency_s=10 ** chance.uniform(-5, -3),
                samples=44,
                discarded=chance.choice((0,) * 12 + (1, 3)),
                halfwidth_percent=min(6.0, abs(chance.lognormvariate(-0.7, 0.7))),
                clock_mhz_low=clock - abs(chance.gauss(0, 30)),
                clock_mhz_high=clock + 20,
                power_capped_fraction=chance.choice((0.0, 0.0, 0.3)) if gpu else None,
                temperature_c=61 + 12 * (1 - 0.98**index) + chance.gauss(0, 0.6) if gpu else None,
                load=None if gpu else 1.0 + abs(chance.gauss(0, 0.15)),
            )
        )
    return Health(tuple(found), tuple(chance.gauss(0.4, 2.0) for _ in range(repeats)))


def published(layers: int = 9, networks: int = 7, seed: int = 8) -> Published:
    chance = random.Random(seed)
    lines = []
    for index in range(layers):
        for precision, factor in (("INT8", 1.0), ("INT4", 0.6)):
            theirs_s = 10 ** chance.uniform(-4.6, -3.7) * factor
            ours_s = theirs_s * 2 ** chance.gauss(-0.2, 0.4)
            lines.append(BesideLayer(RESNET18[2 + index], precision, span(ours_s, 0.03), theirs_s, index % 4 == 0))
    names = ("INT8", "INT4", "0.75 latency", "0.5 latency", "0.25 latency", "0.5 size", "0.5 BOPS")
    nets = [
        BesideNetwork(name, 8, 3.2e-3 - 0.15e-3 * at, 71.56 - 0.3 * at, 2.1e-3 - 0.1e-3 * at, 21, 21)
        for at, name in enumerate(names[:networks])
    ]
    if len(nets) > 2:
        nets[2] = replace(nets[2], sum_s=None, priced=0)
        nets[-1] = replace(nets[-1], top1_percent=None, priced=19)
    sources = ("Yao et al., HAWQ-V3: Dyadic Neural Network Quantization, ICML 2021",)
    return Published("Tesla T4, this table", "Tesla T4", tuple(lines), tuple(nets), sources)


def unjudged() -> Speedups:
    """The first layers have prices without intervals: a speedup, and no verdict."""
    whole = speedups()
    bare = [replace(one, verdict=None, cause="no interval") if one.speedup else one for one in whole.layers[:4]]
    return replace(whole, layers=(*bare, *whole.layers[4:]))


def close_ends() -> TimeCourses:
    """Lines that end within a thousandth of each other, and kinds of work that no bar shows."""
    layers = ("conv", "fc", "pool")
    kinds = (Work.CONVOLUTION, Work.DENSE, Work.POOLING)

    def course(name: str, *latencies_s: float) -> Course:
        found = zip(kinds, latencies_s, strict=True)
        return Course(name, tuple(TimedKernel(at, kind.value, kind, s) for at, (kind, s) in enumerate(found)))

    return TimeCourses(
        layers,
        (course("INT8", 1e-3, 4e-6, 1e-6), course("INT4", 1.001e-3, 1e-6, 0.0), course("mixed", 1e-3, 1e-6, 0.0)),
    )


def chosen_beside() -> FrontFigure:
    whole = front()
    return replace(whole, chosen=FigurePoint(0.9, 2.4, whole.points[0].precisions))


def speedup_extremes() -> dict[str, Speedups]:
    exact = Span(1e-4, 1e-4, 1e-4)
    tie = LayerSpeedup("tie", "conv2d", exact, exact, ratio(exact, exact), Verdict.SAME, "measured", "a cause")
    return {
        "one layer": of_layers((layer("only", 2e-4, 1e-4),)),
        "one layer without a price": of_layers((layer("only", None, None, "no INT8 and no INT4 row"),)),
        "nothing priced": of_layers(tuple(layer(name, 1e-4, None, "no INT4 row") for name in RESNET18)),
        "intervals of no length": of_layers((tie,) * 5, noise_ratio=None),
        "all the same": of_layers((layer("same", 1e-4, 1.001e-4, "moves as many bytes"),) * 40, noise_ratio=1.0),
        "enormous range": of_layers((layer("a", 1e3, 1e-9), layer("b", 1e-9, 1e3, "slow"), layer("c", 1.0, 1.0, "no"))),
        "wide intervals": of_layers((layer("a", 1e-4, 1.1e-4, "x", half=0.999), layer("b", 1e-4, 0.8e-4, half=0.0))),
        "hostile causes": of_layers(tuple(layer(f"l{at}", 1e-4, 2e-4, text) for at, text in enumerate(HOSTILE))),
    }


def course_extremes() -> dict[str, TimeCourses]:
    def one(name: str, latency_s: float, *unpriced: str) -> Course:
        return Course(name, (TimedKernel(0, "k", Work.CONVOLUTION, latency_s),), unpriced)

    layers = ("a", "b", "c")
    return {
        "one layer": TimeCourses(("only",), (one("INT8", 1e-4), one("INT4", 1e-4))),
        "one network": TimeCourses(("only",), (one("INT8", 1e-4),)),
        "an empty network": TimeCourses(layers, (Course("INT8", (), layers), one("INT4", 1e-4, "b", "c"))),
        "enormous range": TimeCourses(layers, (one("INT8", 1e-9), one("INT4", 1e3), one("mixed", 1.0))),
        "alike": TimeCourses(layers, tuple(one(name, 1e-3) for name in ("INT8", "INT4", "mixed"))),
        "hostile networks": TimeCourses(HOSTILE, tuple(one(name, 1e-3) for name in HOSTILE[:4])),
    }


def roofline_extremes() -> dict[str, Roofline]:
    int8, int4 = Roof("INT8", 1e12, "counted"), Roof("INT4", 1e12, "counted")
    point = RooflinePoint("only", "INT8", 1e9, 1e6, 2e-3, 1e-3)
    tiny, huge = (
        RooflinePoint("tiny", "INT4", 1.0, 1e9, 10.0, 1.0),
        RooflinePoint("huge", "INT8", 1e15, 1.0, 1e-3, 1e-3),
    )
    hostile = tuple(Roof(name, 10.0 ** (9 + at), name) for at, name in enumerate(HOSTILE[:4]))
    return {
        "one point": Roofline((int8,), 1e11, "measured", (point,)),
        "equal roofs": Roofline((int8, int4), 1e11, "measured", (point, replace(point, precision="INT4"))),
        "all in one place": Roofline((int8, int4), 1e11, "measured", (point,) * 50),
        "enormous range": Roofline((int8, int4), 1e11, "measured", (tiny, huge)),
        "slow": Roofline((replace(int8, ops_per_s=200.0),), 30.0, "measured", (replace(point, latency_s=1e8),)),
        "hostile roofs": Roofline(hostile, 1e11, HOSTILE[2], (replace(point, precision=HOSTILE[0], layer=HOSTILE[1]),)),
    }


def prediction_extremes() -> dict[str, Predictions]:
    whole = predictions(3)
    exact = PredictedKernel("k", 1e-5, 1e-5, 1e-5, 1e-5, False)
    perfect = SplitError("none", 1, 0.0, 0.0, 100.0, "100%")
    return {
        "one kernel": replace(whole, kernels=(exact,), splits=(perfect,), noise_percent=None),
        "no kernel": replace(whole, kernels=()),
        "no split": replace(whole, splits=()),
        "nothing": replace(whole, kernels=(), splits=(), noise_percent=None),
        "enormous range": replace(
            whole,
            kernels=(
                PredictedKernel("a", 1e-9, 1e3, 1e-9, 1e4, True),
                PredictedKernel("b", 1.0, 1e-9, 1e-9, 0.1, False),
            ),
            splits=(replace(perfect, mape_percent=1e9),),
        ),
        "hostile": replace(whole, splits=tuple(replace(perfect, split=name) for name in HOSTILE), noise=HOSTILE[2]),
    }


def front_extremes() -> dict[str, FrontFigure]:
    one = FigurePoint(0.5, 1.0, ("int8", "int4"))
    plain = FrontFigure("title", "latency (ms)", ("a", "b"), (one,), one)
    close = tuple((f"level {at}", 1.0 + at * 1e-4) for at in range(5))
    many = tuple(FigurePoint(200.0 - at, float(at), ("int8", "int4")) for at in range(200))
    return {
        "one point": plain,
        "nothing chosen": replace(plain, chosen=None),
        "no point": replace(plain, points=(), chosen=None),
        "equal points": replace(plain, points=(one,) * 4),
        "close levels": replace(plain, levels=close, points=(one, FigurePoint(0.1, 1.2, ("int8", "int8")))),
        "many points": replace(plain, points=many, chosen=None),
        "enormous range": replace(plain, points=(one, FigurePoint(1e-12, 1e12, ("int2", "bf16")))),
        "five precisions": replace(
            plain,
            layers=("a", "b", "c", "d", "e"),
            points=(FigurePoint(0.5, 1.0, ("int8", "int4", "int2", "int16", "bf16")),),
            chosen=None,
        ),
        "hostile": replace(
            front(HOSTILE, 5), title=HOSTILE[2], axis=HOSTILE[0], levels=tuple((n, 1.2) for n in HOSTILE)
        ),
    }


def tuning_extremes() -> dict[str, TuningHistory]:
    good = Search("k", ("a",), "INT8", (1e-4,), 0)
    return {
        "one trial": TuningHistory((good,), ()),
        "nothing worked": TuningHistory((replace(good, best_s=(None, None), failed=2),), (("crash", 2),)),
        "nothing searched": TuningHistory((), ()),
        "one worked": TuningHistory((good, replace(good, best_s=(None, None, None), failed=3)), (("crash", 3),)),
        "late": TuningHistory((replace(good, best_s=(None, None, 2e-4, 1e-4)),), ()),
        "enormous range": TuningHistory((replace(good, best_s=(1e3, 1e-9)),), (("crash", 10**9), ("hang", 1))),
        "equal": TuningHistory((replace(good, best_s=(1e-4,) * 9),) * 3, ()),
        "hostile": TuningHistory((replace(good, precision=HOSTILE[0]),), tuple((name, 5) for name in HOSTILE)),
    }


def health_extremes() -> dict[str, Health]:
    bare = KernelHealth("k", 0.0, 1e-4, 1, 0, None, None, None, None, None, None)
    full = replace(bare, halfwidth_percent=0.0, clock_mhz_low=1500.0, clock_mhz_high=1500.0, load=0.0)
    return {
        "nothing known": Health((bare,) * 3, ()),
        "no kernel": Health((), ()),
        "one kernel": Health((full,), (0.0,)),
        "only repeats": Health((bare,), (1.0, -2.0, 0.5)),
        "half known": Health((full, bare, replace(full, measured_at=1e5, discarded=3)), (5.0,)),
        "enormous range": Health((replace(full, clock_mhz_high=1e9, halfwidth_percent=1e6), full), (1e6, -1e6)),
        "equal": Health((replace(full, load=1.0, temperature_c=60.0),) * 500, (1.0,) * 500),
    }


def published_extremes() -> dict[str, Published]:
    whole = published()
    line = whole.layers[0]
    exact = replace(line, ours=Span(line.theirs_s, line.theirs_s, line.theirs_s), bare=True)
    network = BesideNetwork("INT8", 8, 3e-3, None, None, 0, 21)
    return {
        "one equal layer": replace(whole, layers=(exact,), networks=()),
        "one network without a sum": replace(whole, layers=(), networks=(network,)),
        "two batches": replace(whole, networks=(network, replace(network, batch=1, sum_s=1e-9))),
        "enormous range": replace(whole, layers=(replace(exact, theirs_s=1e3), replace(exact, ours=span(1e-9)))),
        "hostile": replace(
            whole,
            ours=HOSTILE[2],
            layers=tuple(replace(line, layer=name, precision=name) for name in HOSTILE[:5]),
            networks=tuple(replace(network, configuration=name) for name in HOSTILE),
        ),
        "many": replace(published(9, 7), layers=tuple(replace(line, layer=name) for name in MANY)),
    }
