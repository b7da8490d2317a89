"""The AutoTVM log that HAWQ-V3 published for the T4, rebuilt from the facts taken from it; makes lut/published.

    python tests/data/autotvm_published.py lut/published/t4_hawqv3.csv

The facts are those of `t4_hawqv3_tuning.csv` (shapes, types, times) and `autotvm_t4_hawqv3_configs.csv` (the config of
each record, by its time stamp).
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from profiler.lut.autotvm.importer import Imported, import_autotvm
from profiler.lut.store import to_bytes

DATA = Path(__file__).parent
CITATION = (
    "Yao et al., HAWQ-V3: Dyadic Neural Network Quantization, ICML 2021; https://github.com/Zhen-Dong/HAWQ"
    " (MIT), tvm_benchmark/mixed_precision_models/tuning_logs at commit cc8b1c1"
)


def log_lines() -> list[str]:
    """The 74 records, in the form of a log. Inputs are padded ahead of the task, as they were."""
    with open(DATA / "autotvm_t4_hawqv3_configs.csv", newline="") as file:
        configs = {row["unix_time"]: json.loads(row["entity"]) for row in csv.DictReader(file)}
    with open(DATA / "t4_hawqv3_tuning.csv", newline="") as file:
        return [_line(row, configs[row["unix_time"]]) for row in csv.DictReader(file)]


def _line(fact: dict[str, str], entity: list[Any]) -> str:
    height, kernel, stride, batch, inputs, outputs = (
        int(fact[name]) for name in ("height", "kernel", "stride", "batch", "in_channels", "out_channels")
    )
    padded = height + kernel - 1
    window = [kernel, kernel, outputs, inputs]
    convolution: list[Any] = [[stride, stride], [0, 0, 0, 0], [1, 1]]
    forms: dict[str, tuple[list[int], list[int], list[Any]]] = {
        "conv2d_HWNCnc_tensorcore.cuda": ([padded, padded, batch, inputs], window, convolution),
        "conv2d_nhwc_tensorcore_im2col.cuda": ([batch, padded, padded, inputs], window, [*convolution, "NHWC"]),
        "dense_int8.cuda": ([batch, inputs], [outputs, inputs], [None]),
    }
    data, weight, rest = forms[fact["template"]]
    args = [["TENSOR", data, fact["activation_dtype"]], ["TENSOR", weight, fact["weight_dtype"]], *rest, "int32"]
    record = {
        "input": ["cuda", fact["template"], args, {}],
        "config": {"index": 0, "code_hash": None, "entity": entity},
        "result": [[float(fact["latency_mean_s"])], 0, 0.0, float(fact["unix_time"])],
        "version": 0.2,
        "tvm_version": fact["tvm_version"],
    }
    return json.dumps(record)


def imported() -> Imported:
    """What the importer makes of it."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "t4_hawqv3.log"
        log.write_text("".join(line + "\n" for line in log_lines()))
        return import_autotvm(log, "t4", CITATION, padded_inputs=True)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(to_bytes(imported().rows))
