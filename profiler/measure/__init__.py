"""The timed window: from artifacts to measurements.

One launch, on the device (time runs to the right; only what lies between the clock readings counts):

    | caches as the mode says | fence | clock | kernel | clock |

One sample of one kernel is the mean over enough launches to fill `StoppingRule.sample_s` of counted time, behind one
launch that is not counted (it finds caches and branch predictors as another kernel left them; a kernel that takes
longer than a whole sample goes without):

    | one launch, not counted | launch | launch | launch | ... |

A measurement takes several kernels through the same minutes, so that drift favours none. Each kernel is loaded and
verified bit for bit, warmed up until its time is steady, and then gets one sample per round; the order of a round is
the reverse of the one before, so that nobody always follows the same neighbour:

    A: load verify warm-up | B: load verify warm-up | round A B | round B A | round A B | round . B | ...
                                                                               A is done: the interval of its median
                                                                               is narrow enough, or its budget spent

Between the batches, outside of every clock and budget, a card gets time to recover from what held it back:

    | batch, slowed down by heat | wait ... | batch, not counted | batch | batch, power capped | rest | batch | ...
      discarded and counted                                                kept and counted

Every sample is kept, but for two reasons to discard it, and both are counted. One is a thermal or hardware slowdown
(`throttle`). The other shows at the end of a `FINAL` measurement: the median lies so far above the minimum that
something else must have run (`Summary.contaminated`). Then all samples of that kernel are taken once more, and if the
second ones look no better a note says so.

A kernel may be right once, launched by itself, and wrong in a row of launches: a `FINAL` measurement ends with a second
look at every output, as the last timed launch left it (`Device.recheck`). One that differs makes the record a failure.

- `window`: the loop. `rule`: when there are enough samples. `throttle`: waits and rests. `stability`: when it is
  the device that cannot be measured. `turns`: whose turn it is on this machine, `lock_holders`: who has it.
- `energy`: joules of work that goes on for seconds, with a drawing of its own. `kernel_energy`: those of a kernel.
"""

from __future__ import annotations

from profiler.measure.rule import CPU_RULES, FINAL, GPU_RULES, SCREEN, Rules, StoppingRule, rules_of
from profiler.measure.window import Run, measure, new_run_id

__all__ = [
    "CPU_RULES",
    "FINAL",
    "GPU_RULES",
    "SCREEN",
    "Rules",
    "Run",
    "StoppingRule",
    "measure",
    "new_run_id",
    "rules_of",
]
