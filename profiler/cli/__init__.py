"""The command line: arguments in, tables or JSON out. What is computed is computed in `pipeline` and `kernel_library`.

- `commands`        the commands and their options
- `bundle_commands` those that split a run between two machines
- `predictor_commands`, `sample_command`  those of the latency model
- `allocate_command`, `sensitivity_command`, `export_commands`  those of bit allocation
- `report_command`  figures, tables and a page
- `quantize_command` a network in integers, as a file
- `run_command`     a network end to end, in integers; `energy_text`: its joules; `bit_exact`: beside the oracle
- `throughput_command` networks in steady state over batches
- `compare_command` two tables beside each other
- `fleet_command`   profile on a fleet; `fleet_progress`, `fleet_tables`: what it shows
- `accuracy_command`, `accuracy_files`, `finetune_command`  right answers in integers, and weights that suit them
- `arguments`       options that several of them share
- `tables`          tables for people
- `predictor_tables`, `predictor_json`  of the latency model
- `allocate_tables`, `allocate_json`, `front_files`  of an allocation
- `compare_tables`, `compare_json`  of a comparison
- `figure_file`     the file of a figure that a command draws
- `kernel_table`    the table of built kernels
- `doctor_table`    what the doctor found
- `json_text`       the same for programs
- `progress`        what a measuring run shows while it runs
- `build_progress`  what a building run shows
- `bars`            what both look like: on a terminal, and elsewhere
"""

from __future__ import annotations

import sys

from profiler.errors import ProfilerError
from profiler.record import escaped


class Interrupted(Exception):
    """Ctrl-C in a command; Typer would end on `KeyboardInterrupt` itself, without a word or with "Aborted!"."""


_FROM_SCRATCH = (
    "allocate", "sensitivity", "export", "fit", "predict", "evaluate", "report", "compare", "quantize", "run",
    "evaluate-accuracy", "finetune",
)  # fmt: skip
"""Commands that keep nothing of what they had done when they are interrupted."""


def main() -> None:
    """Run a command. A user's error, and what memory does not hold, is one line on standard error and exit code 2;
    Ctrl-C is 130."""
    try:
        from profiler.cli.commands import app

        app()
    except ProfilerError as error:
        print(f"error: {escaped(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError as error:
        what = f" ({escaped(str(error))})" if str(error) else ""
        print(f"error: not enough memory{what}; a smaller batch takes less", file=sys.stderr)
        raise SystemExit(2) from None
    except (Interrupted, KeyboardInterrupt):
        kept = "; what was measured or built is kept, the same command goes on from there"
        print(f"interrupted{'' if set(sys.argv[1:2]) & set(_FROM_SCRATCH) else kept}", file=sys.stderr)
        # CPython remembers an interrupt of code that an extension module ran while it was imported, and then ends by
        # the signal whatever the exit code is. Running a text forgets it (`run_eval_code_obj` in pythonrun.c).
        exec("")
        raise SystemExit(130) from None
    except RuntimeError as error:
        # Python 3.11 wraps what a `__set_name__` raises, an interrupt too.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        raise SystemExit(141) from None
