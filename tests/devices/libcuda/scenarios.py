"""What PyCUDA and cuda-bindings do on the fake driver. Each scenario wants a process of its own:
``python -m ... NAME``."""

from __future__ import annotations

import ctypes
import gc
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest

from profiler.artifact import ArgSpec, Launch, Role
from profiler.devices import cuda_worker
from profiler.devices.cuda_driver import CudaDriver, DriverError, Function
from profiler.devices.pycuda_driver import open_pycuda
from profiler.errors import DeviceError
from profiler.network.execute import cuda_worker as network_worker
from profiler.network.execute.planned import Memory, Place, Plan, PlannedStep, PlannedValue
from profiler.record import CacheMode
from tests.gpu.fake_driver import ARTIFACT

FIRST, SECOND = "0000:3B:00.0", "0000:AF:00.0"
TOTAL_BYTES = 64 << 20

Check = Callable[[], None]

SCENARIOS: dict[str, Check] = {}
ENVIRONMENTS: dict[str, dict[str, str]] = {}
"""Of the scenarios' processes, by the same names."""


def scenario(**environment: str) -> Callable[[Check], Check]:
    """The decorated check is a scenario."""

    def register(check: Check) -> Check:
        SCENARIOS[check.__name__] = check
        ENVIRONMENTS[check.__name__] = environment
        return check

    return register


def cubin(*names: str) -> bytes:
    body = b"".join(name.encode() + b"\0" for name in names)
    return b"\x7fELF" + struct.pack("<I", 8 + len(body)) + body


def live(kind: str) -> int:
    return int(ctypes.CDLL("libcuda.so.1").fake_live(kind.encode()))


def contexts() -> int:
    return int(ctypes.CDLL("libcuda.so.1").fake_contexts())


def entry(driver: CudaDriver, name: str) -> Function:
    return driver.function(driver.load(cubin("first", name)), name)


def fails(code: int, call: str, text: str) -> pytest.RaisesExc[DriverError]:
    return pytest.raises(DriverError, check=lambda e: (e.code, e.call, e.text) == (code, call, text))


@scenario()
def properties_are_the_attributes_of_those_names() -> None:
    """The fake gives 1000 plus the attribute's number in CUdevice_attribute."""
    with open_pycuda(FIRST) as driver:
        assert asdict(driver.properties) == {
            "name": "Fake 0",
            "pci_bus_id": FIRST,
            "capability": (7, 5),
            "driver_version": (12, 2),
            "memory_bytes": TOTAL_BYTES,
            "multiprocessor_count": 1016,
            "clock_rate_khz": 1013,
            "memory_clock_rate_khz": 1036,
            "global_memory_bus_width_bits": 1037,
            "l2_cache_bytes": 1038,
            "max_shared_memory_per_multiprocessor_bytes": 1081,
            "max_shared_memory_per_block_optin_bytes": 1097,
            "max_registers_per_multiprocessor": 1082,
            "max_threads_per_multiprocessor": 1039,
            "max_blocks_per_multiprocessor": 1106,
        }
        assert driver.properties.arch == "sm_75"


@scenario()
def the_gpu_is_found_by_its_place_on_the_bus() -> None:
    for spelling in (SECOND, SECOND.lower(), "0000" + SECOND):
        with open_pycuda(spelling) as driver:
            assert driver.properties.name == "Fake 1", spelling


@scenario(CUDA_VISIBLE_DEVICES="1")
def a_hidden_gpu_is_said_to_be_hidden() -> None:
    with open_pycuda(SECOND) as driver:
        assert driver.properties.name == "Fake 1"
    with pytest.raises(DeviceError, match=r"CUDA_VISIBLE_DEVICES='1' hides the GPU 0000:3B:00\.0"):
        open_pycuda(FIRST)


@scenario(CUDA_VISIBLE_DEVICES="")
def all_gpus_may_be_hidden() -> None:
    with pytest.raises(DeviceError, match=r"CUDA_VISIBLE_DEVICES='' hides the GPU 0000:3B:00\.0"):
        open_pycuda(FIRST)


@scenario()
def a_gpu_that_is_not_there_is_not_called_hidden() -> None:
    with pytest.raises(DeviceError, match=r"does not offer the GPU 0000:01:00\.0"):
        open_pycuda("0000:01:00.0")


@scenario(FAKE_REFUSES="cuInit=803")
def a_driver_that_does_not_start_says_why() -> None:
    with fails(803, "cuInit", "system has unsupported display driver / cuda driver combination"):
        open_pycuda(FIRST)


@scenario(FAKE_REFUSES="cuDevicePrimaryCtxRetain=46")
def a_gpu_that_gives_no_context_says_why() -> None:
    with fails(46, "cuDevicePrimaryCtxRetain", "CUDA-capable device(s) is/are busy or unavailable"):
        open_pycuda(FIRST)


@scenario()
def memory_goes_there_and_back() -> None:
    with open_pycuda(FIRST) as driver:
        first, second = driver.allocate(1000), driver.allocate(1)
        assert first % 256 == second % 256 == 0
        data = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8)
        driver.write(first, data)
        assert np.array_equal(driver.read(first, 1000), data)
        assert np.array_equal(driver.read(first + 7, 3), data[7:10])
        driver.write(first + 1, data[::2][:4])
        assert driver.read(first, 6).tolist() == [data[0], data[0], data[2], data[4], data[6], data[5]]
        driver.fill(first + 2, 0xA5, 3)
        assert driver.read(first + 1, 5).tolist() == [data[0], 0xA5, 0xA5, 0xA5, data[5]]
        assert driver.read(first, 0).size == 0
        assert live("memory") == 2
        driver.free(first)
        assert live("memory") == 1
        with fails(1, "cuMemcpyDtoH", "invalid argument"):
            driver.read(first, 1)
        with fails(1, "cuMemcpyHtoD", "invalid argument"):
            driver.write(second, np.zeros(300, np.uint8))
        with fails(1, "cuMemsetD8", "invalid argument"):
            driver.fill(first, 0, 1)
        with fails(1, "cuMemAlloc", "invalid argument"):
            driver.allocate(0)
        with fails(2, "cuMemAlloc", "out of memory"):
            driver.allocate(TOTAL_BYTES)
        assert driver.read(second, 1).size == 1, "the context goes on"


@scenario()
def code_is_cubin_or_ptx() -> None:
    with open_pycuda(FIRST) as driver:
        module = driver.load(cubin("one", "add_one"))
        driver.function(module, "one"), driver.function(module, "add_one")
        with fails(500, "cuModuleGetFunction", "named symbol not found"):
            driver.function(module, "two")
        text = driver.load(b".version 6.3\n.visible .entry add_one(.param .u64 a) { ret; }")
        assert driver.function(text, "add_one")
        with fails(200, "cuModuleLoadDataEx", "device kernel image is invalid"):
            driver.load(b"what is this")
        for code, words in (
            (209, "no kernel image is available for execution on the device"),
            (218, "a PTX JIT compilation failed"),
            (222, "the provided PTX was compiled with an unsupported toolchain."),
        ):
            with fails(code, "cuModuleLoadDataEx", f"{words} - remark - of the loader"):
                driver.load(cubin(f"load_{code}"))


@scenario()
def a_module_goes_though_it_and_its_functions_are_still_referred_to() -> None:
    with open_pycuda(FIRST) as driver:
        module, other = driver.load(cubin("add_one")), driver.load(cubin("add_one"))
        functions = [driver.function(module, "add_one"), driver.function(module, "add_one")]
        gc.collect()
        assert live("module") == 2
        driver.unload(module)
        assert live("module") == 1
        driver.unload(module)
        address = driver.allocate(1)
        driver.launch(driver.function(other, "add_one"), (1, 1, 1), 1, 0, [address, address])
        driver.wait()
        assert len(functions) == 2
        del other
        gc.collect()
        assert live("module") == 1, "nobody unloaded it"


@scenario()
def a_launch_passes_what_it_is_told() -> None:
    with open_pycuda(FIRST) as driver:
        out = driver.allocate(256)
        describe = entry(driver, "describe")
        for arguments in ([out], [out, 2**63 + 5, 0], [out, 1]):
            driver.launch(describe, (7, 6, 5), 96, 48, arguments)
            words = driver.read(out, 8 * (8 + len(arguments))).view(np.uint64).tolist()
            assert words == [7, 6, 5, 96, 1, 1, 48, 8 * len(arguments), *arguments]
        data = driver.allocate(4)
        driver.write(data, np.array([1, 2, 255, 4], np.uint8))
        add_one = entry(driver, "add_one")
        for _ in range(2):
            driver.launch(add_one, (3, 1, 1), 32, 0, [data, data])
        assert driver.read(data, 4).tolist() == [3, 4, 1, 4]
        with fails(1, "cuLaunchKernel", "invalid argument"):
            driver.launch(add_one, (0, 1, 1), 32, 0, [data, data])


@scenario()
def shared_memory_above_48_kib_is_asked_for() -> None:
    with open_pycuda(FIRST) as driver:
        module, out = driver.load(cubin("describe")), driver.allocate(256)
        usual = driver.function(module, "describe", 48 * 1024)
        driver.launch(usual, (1, 1, 1), 32, 48 * 1024, [out])
        with fails(1, "cuLaunchKernel", "invalid argument"):
            driver.launch(usual, (1, 1, 1), 32, 48 * 1024 + 1, [out])
        large = driver.function(module, "describe", 64 * 1024)
        driver.launch(large, (1, 1, 1), 32, 64 * 1024, [out])
        assert driver.read(out, 56).view(np.uint64)[6] == 64 * 1024
        with fails(1, "cuFuncSetAttribute", "invalid argument"):
            driver.function(module, "describe", 64 * 1024 + 1)


@scenario()
def a_flag_that_is_set_after_the_launch_is_seen() -> None:
    with open_pycuda(FIRST) as driver:
        flag, out = driver.flag(), driver.allocate(4)
        copy = entry(driver, "copy_word")
        driver.launch(copy, (1, 1, 1), 1, 0, [flag.address, out])
        assert driver.read(out, 4).view(np.uint32)[0] == 0, "the memory was not empty"
        driver.launch(copy, (1, 1, 1), 1, 0, [flag.address, out])
        flag.set(0xDEADBEEF)
        assert driver.read(out, 4).view(np.uint32)[0] == 0xDEADBEEF
        del flag
        gc.collect()
        assert live("host") == 1, "kernels may still read it"


def add_one_twice(driver: CudaDriver, data: int) -> Callable[[], None]:
    """What launches two kernels: of 4 blocks and of 3."""
    add_one = entry(driver, "add_one")

    def put() -> None:
        for blocks in (4, 3):
            driver.launch(add_one, (blocks, 1, 1), 32, 0, [data, data])

    return put


@scenario()
def a_graph_launches_what_was_captured() -> None:
    """Through cuda-bindings, in the context and with the functions of PyCUDA; in the stream of all else."""
    with open_pycuda(FIRST) as driver:
        data = driver.allocate(256)
        driver.fill(data, 0, 4)
        put = add_one_twice(driver, data)
        graph = driver.capture(put)
        assert driver.read(data, 4).tolist() == [0, 0, 0, 0], "nothing of it ran"
        gc.collect()
        assert (live("stream"), live("graph"), live("launchable")) == (0, 0, 1)
        for _ in range(2):
            driver.launch_graph(graph)
        assert driver.read(data, 4).tolist() == [4, 4, 4, 2]
        put()
        assert driver.read(data, 4).tolist() == [6, 6, 6, 3], "launches are launched again"
        events = [driver.event(), driver.event()]
        driver.record(events[0])
        driver.launch_graph(graph)
        driver.record(events[1])
        driver.wait()
        assert driver.elapsed_s(*events) == pytest.approx(7e-6)
        driver.drop_graph(graph)
        assert live("launchable") == 0


@scenario()
def what_fails_while_it_is_captured_leaves_the_context_alone() -> None:
    with open_pycuda(FIRST) as driver:
        data = driver.allocate(256)
        driver.fill(data, 0, 4)
        put = add_one_twice(driver, data)
        refused = entry(driver, "refused_701")

        def fail() -> None:
            put()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            driver.capture(fail)
        with fails(701, "cuLaunchKernel", "too many resources requested for launch"):
            driver.capture(lambda: driver.launch(refused, (1, 1, 1), 32, 0, []))
        gc.collect()
        assert (live("stream"), live("graph")) == (0, 0)
        driver.launch_graph(driver.capture(put))
        assert driver.read(data, 4).tolist() == [2, 2, 2, 1]


@scenario(FAKE_REFUSES="cuGraphInstantiate=2")
def a_graph_that_is_refused_says_why() -> None:
    with open_pycuda(FIRST) as driver:
        put = add_one_twice(driver, driver.allocate(256))
        with fails(2, "cuGraphInstantiate", "out of memory"):
            driver.capture(put)
        assert live("graph") == 0
        driver.wait()


@scenario()
def a_graph_whose_kernel_fails_breaks_the_context() -> None:
    words = "an illegal memory access was encountered"
    with open_pycuda(FIRST) as driver:
        bad = entry(driver, "fails_700")
        graph = driver.capture(lambda: driver.launch(bad, (1, 1, 1), 32, 0, []))
        driver.launch_graph(graph)
        with fails(700, "cuCtxSynchronize", words):
            driver.wait()
        with fails(700, "cuGraphLaunch", words):
            driver.launch_graph(graph)
        with fails(700, "cuCtxSynchronize", words):
            driver.drop_graph(graph)


@scenario()
def events_measure_seconds() -> None:
    """A launch takes as many microseconds as it has blocks."""
    with open_pycuda(FIRST) as driver:
        out = driver.allocate(256)
        describe = entry(driver, "describe")
        events = [driver.event() for _ in range(3)]
        driver.record(events[0])
        driver.launch(describe, (250, 1, 1), 32, 0, [out])
        driver.record(events[1])
        driver.launch(describe, (50, 3, 10), 32, 0, [out])
        driver.record(events[2])
        with fails(600, "cuEventElapsedTime", "device not ready"):
            driver.elapsed_s(events[0], events[1])
        driver.wait()
        assert driver.elapsed_s(events[0], events[1]) == pytest.approx(250e-6)
        assert driver.elapsed_s(events[1], events[2]) == pytest.approx(1500e-6)
        assert driver.elapsed_s(events[0], events[2]) == pytest.approx(1750e-6)
        driver.record(events[0])
        driver.wait()
        assert driver.elapsed_s(events[1], events[0]) == pytest.approx(1500e-6), "an event can be used again"
        del events
        gc.collect()
        assert live("event") == 0


@scenario()
def a_failed_launch_breaks_the_context() -> None:
    words = "an illegal memory access was encountered"
    with open_pycuda(FIRST) as driver:
        out, module, flag = driver.allocate(256), driver.load(cubin("fails_700")), driver.flag()
        driver.launch(driver.function(module, "fails_700"), (1, 1, 1), 32, 0, [])
        with fails(700, "cuCtxSynchronize", words):
            driver.wait()
        with fails(700, "cuMemcpyDtoH", words):
            driver.read(out, 1)
        with fails(700, "cuMemAlloc", words):
            driver.allocate(1)
        with fails(700, "cuEventCreate", words):
            driver.event()
        with fails(700, "cuModuleLoadDataEx", words):
            driver.load(cubin("add_one"))
        with fails(700, "cuMemHostAlloc", words):
            driver.flag()
        with fails(700, "cuCtxSynchronize", words):
            driver.free(out)
        with fails(700, "cuCtxSynchronize", words):
            driver.unload(module)
        flag.set(1)


@scenario()
def a_launch_that_timed_out_has_its_own_number() -> None:
    with open_pycuda(FIRST) as driver:
        out = driver.allocate(1)
        driver.launch(entry(driver, "fails_702"), (1, 1, 1), 32, 0, [])
        with fails(702, "cuMemcpyDtoH", "the launch timed out and was terminated"):
            driver.read(out, 1)


@scenario()
def a_refused_launch_breaks_nothing() -> None:
    with open_pycuda(FIRST) as driver:
        with fails(701, "cuLaunchKernel", "too many resources requested for launch"):
            driver.launch(entry(driver, "refused_701"), (1, 1, 1), 32, 0, [])
        driver.wait()


@scenario()
def closing_gives_everything_back() -> None:
    driver = open_pycuda(FIRST)
    kept = [entry(driver, "add_one"), driver.allocate(9), driver.flag(), driver.event()]
    assert contexts() == 1
    driver.close()
    assert contexts() == 0
    assert [live(kind) for kind in ("memory", "host", "module", "event")] == [0, 0, 0, 0]
    driver.close()
    with pytest.raises(DriverError, check=lambda error: error.code == 201):
        driver.allocate(1)
    with open_pycuda(FIRST) as again:
        assert again.read(again.allocate(1), 1).size == 1
    assert len(kept) == 4


@scenario()
def a_process_may_end_without_closing() -> None:
    driver = open_pycuda(FIRST)
    driver.allocate(1)


@scenario()
def the_worker_measures() -> None:
    """All that it does with a GPU, without the pipe to its parent."""
    greeting, operations = cuda_worker.start(FIRST)
    assert greeting["properties"]["name"] == "Fake 0"
    artifact = replace(ARTIFACT, arch="sm_75", entry="add_one", code=cubin("add_one"), launch=Launch((5, 1, 1), 64, 48))
    operations["load"]({"handle": 1}, artifact.to_bytes())
    operations["verify"]({"handle": 1}, b"")
    for mode in CacheMode:
        header, times = operations["time"]({"handle": 1, "launches": 3, "mode": mode.value}, b"")
        assert np.frombuffer(times).tolist() == pytest.approx([5e-6] * 3), mode
        assert set(header["clocks_mhz"]) == {1500.0}
    before = live("module")
    operations["unload"]({"handle": 1}, b"")
    assert live("module") == before - 1


@scenario()
def the_worker_runs_networks() -> None:
    """Two steps, each of which adds 1 to what it reads."""
    greeting, operations = network_worker.start(FIRST)
    assert greeting["properties"]["name"] == "Fake 0"
    args = (ArgSpec("input", Role.INPUT, 5), ArgSpec("output", Role.OUTPUT, 5))
    launch = Launch((5, 1, 1), 64, 48)
    artifact = replace(ARTIFACT, arch="sm_75", entry="add_one", code=cubin("add_one"), launch=launch, args=args)
    places = [Place(Memory.ARENA, 256 * index, 5) for index in range(3)]
    steps = tuple(
        PlannedStep(f"step{index}", f"step{index}", 0, (source, target), target, True)
        for index, (source, target) in enumerate(pairwise(places))
    )
    inputs, outputs = (PlannedValue("x", places[0]),), (PlannedValue("y", places[2]),)
    plan = Plan(("add_one",), steps, inputs, outputs, 768, 0, 768, 768)
    operations["load"]({"plan": asdict(plan), "artifacts": [len(artifact.to_bytes())]}, artifact.to_bytes())
    operations["inputs"]({}, bytes([1, 2, 3, 4, 255]))
    assert operations["step"]({"index": 0}, b"")[1] == bytes([2, 3, 4, 5, 0])
    assert operations["step"]({"index": 1}, b"")[1] == bytes([3, 4, 5, 6, 1])
    operations["inputs"]({}, bytes([0, 0, 7, 7, 7]))
    assert operations["run"]({}, b"")[1] == bytes([2, 2, 9, 9, 9])
    for marks, values in ((False, [10_000] * 3), (True, [10_000] * 3 + [5_000, 10_000] * 3)):
        header, times = operations["time"]({"runs": 3, "marks": marks}, b"")
        assert np.frombuffer(times, np.int64).tolist() == pytest.approx(values, abs=2)
        assert set(header["clocks_mhz"]) == {1500.0}
    assert operations["outputs"]({}, b"")[1] == bytes([2, 2, 9, 9, 9])
    operations["check"]({}, b"")


if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
    print("passed")
