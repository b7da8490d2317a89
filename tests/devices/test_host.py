"""The host CPU: conformance, and everything that can go wrong in or around its worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.artifact import ArgSpec, Role
from profiler.devices.host import HostDevice
from profiler.devices.host_worker import choose_cpus
from profiler.devices.protocol import Device, KernelFailure
from profiler.errors import DeviceError
from profiler.hardware import host_cpu
from profiler.measure import measure
from profiler.record import CacheMode, Conditions, Failure, FailureKind, Measurement

from .c_kernels import artifact, needs_compiler
from .conformance import QUICK, RUN, DeviceConformance, Kernels


@pytest.fixture(scope="module")
def shared() -> Iterator[HostDevice]:
    needs_compiler()
    with HostDevice(time_limit_s=20) as device:
        yield device


class TestConformance(DeviceConformance):
    @pytest.fixture
    def device(self) -> Iterator[Device]:
        needs_compiler()
        with HostDevice(time_limit_s=20) as device:
            yield device

    @pytest.fixture
    def kernels(self) -> Kernels:
        return host_kernels()


def host_kernels() -> Kernels:
    return Kernels(
        right=artifact("right"),
        also_right=artifact("uses_workspace", config="other"),
        wrong=artifact("wrong", config="wrong"),
        crashing=artifact("segfaults", config="crashing"),
        refused=artifact("illegal", config="refused", features=("sse2", "no_such_feature")),
        refusal="no_such_feature",
    )


def failure_of(device: HostDevice, body: str) -> KernelFailure:
    """How a kernel fails, and proof that the device goes on after it."""
    with pytest.raises(KernelFailure) as caught:
        device.verify(device.load(artifact(body)))
    device.verify(device.load(artifact()))
    return caught.value


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("segfaults", "SIGSEGV"),
        ("aborts", "SIGABRT"),
        ("illegal", "SIG"),
        ("exits", "exit status 3"),
        ("exits_with_0", "exit status 0"),
        ("killed", "SIGKILL"),
    ],
)
def test_crashes(shared: HostDevice, body: str, named: str) -> None:
    failure = failure_of(shared, body)
    assert failure.kind is FailureKind.CRASH
    assert named in failure.message


@pytest.mark.parametrize("body", ["hangs", "spins"])
def test_hangs(body: str) -> None:
    with HostDevice(time_limit_s=0.5) as device:
        assert failure_of(device, body).kind is FailureKind.TIMEOUT


def test_hang_while_timed() -> None:
    count_to_three = "static int calls; if (++calls == 3) for (;;) pause(); pool(a);"
    with HostDevice(time_limit_s=0.5) as device:
        handle = device.load(artifact(count_to_three))
        device.verify(handle)
        with pytest.raises(KernelFailure) as caught:
            device.time(handle, 5, CacheMode.HOT)
        assert caught.value.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("wrong", "1 of 2048 output bytes differ; the first is byte 17"),
        ("unfinished", "2048 of 2048 output bytes differ"),
        ("accumulates", "byte 9"),
        ("behind_output", "outside of its argument 'output'"),
        ("ahead_of_output", "outside of its argument 'output'"),
        ("far_behind_workspace", "outside of its argument 'workspace'"),
        ("into_input", "into its argument 'input'"),
    ],
)
def test_wrong_outputs(shared: HostDevice, body: str, said: str) -> None:
    failure = failure_of(shared, body)
    assert failure.kind is FailureKind.WRONG_OUTPUT
    assert said in failure.message.replace("2047", "2048")  # a poisoned byte may be right by chance


@pytest.mark.parametrize(("body", "said"), [("tires", "byte 17"), ("creeps", "outside of its argument 'output'")])
def test_wrong_after_some_launches(shared: HostDevice, body: str, said: str) -> None:
    handle = shared.load(artifact(body))
    shared.verify(handle)
    shared.time(handle, 2, CacheMode.HOT)
    shared.recheck(handle)
    shared.time(handle, 2, CacheMode.HOT)
    with pytest.raises(KernelFailure, match=said) as caught:
        shared.recheck(handle)
    assert caught.value.kind is FailureKind.WRONG_OUTPUT


def test_a_final_measurement_looks_at_the_output_again(shared: HostDevice) -> None:
    kernels = [artifact("right"), artifact("tires")]
    screened = measure(shared, kernels, Conditions(1, CacheMode.HOT), QUICK, "screen", RUN)
    assert all(isinstance(record, Measurement) for record in screened)
    right, failure = measure(shared, kernels, Conditions(1, CacheMode.HOT), QUICK, "final", RUN)
    assert isinstance(right, Measurement)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.WRONG_OUTPUT


def test_a_new_worker_has_nothing_to_look_at(shared: HostDevice) -> None:
    handle = shared.load(artifact())
    shared.verify(handle)
    assert shared.worker_pid is not None
    os.kill(shared.worker_pid, signal.SIGKILL)
    shared.recheck(handle)


@pytest.mark.parametrize("body", ["right", "prints", "uses_workspace", "aligned", "slow"])
def test_right_outputs(shared: HostDevice, body: str) -> None:
    handle = shared.load(artifact(body))
    shared.verify(handle)
    times_s = shared.time(handle, 3, CacheMode.NETWORK)
    if body == "slow":
        assert min(times_s) >= 0.002  # it sleeps that long
    shared.unload(handle)


def test_an_artifact_that_expects_something_else(shared: HostDevice) -> None:
    with pytest.raises(KernelFailure, match="build it again"):
        shared.verify(shared.load(artifact(sha256="0" * 64)))


def test_launch_failures(shared: HostDevice) -> None:
    base = artifact()
    elsewhere = bytearray(base.code)
    elsewhere[18:20] = (0x53).to_bytes(2, "little")  # an ELF file for another machine
    broken = {
        "does not load": replace(base, code=b"not a shared object"),
        "the code does not load": replace(base, code=bytes(elsewhere)),
        "no function 'other'": replace(base, entry="other"),
        "no function 'lowbit_abi'": artifact(runtime=False),
        "runtime version 9": artifact(
            "", runtime=False, extra="int lowbit_abi(void) { return 9; }", config="another runtime"
        ),
        f"{os.cpu_count() or 1}00 threads": replace(base, threads=int(f"{os.cpu_count() or 1}00")),
        "wants 1": artifact(args=(ArgSpec("input", Role.INPUT, 1), *base.args[1:])),
        "argument 'output' has 2048": artifact(args=(base.args[0], ArgSpec("output", Role.OUTPUT, 7), base.args[2])),
        "as argument 'bias'": artifact(args=(*base.args, ArgSpec("bias", Role.PARAMETER, 4))),
        "0 outputs": artifact(args=(base.args[0], base.args[2])),
        "no memory": artifact(args=(*base.args[:2], ArgSpec("workspace", Role.WORKSPACE, 1 << 60))),
    }
    for said, one in broken.items():
        with pytest.raises(KernelFailure) as caught:
            shared.verify(shared.load(one))
        assert said in caught.value.message
        assert caught.value.kind is FailureKind.LAUNCH
    shared.verify(shared.load(base))


def test_libraries_are_not_mixed_up(shared: HostDevice) -> None:
    """Loaded and unloaded in turn: the loader must never take one for another."""
    for _ in range(3):
        for body in ("right", "wrong"):
            handle = shared.load(artifact(body))
            if body == "right":
                shared.verify(handle)
            else:
                with pytest.raises(KernelFailure):
                    shared.verify(handle)
            shared.unload(handle)


def test_killed_between_calls(shared: HostDevice) -> None:
    handles = [shared.load(artifact()), shared.load(artifact("uses_workspace"))]
    for handle in handles:
        assert shared.worker_pid is not None
        os.kill(shared.worker_pid, signal.SIGKILL)
        shared.verify(handle)
    assert all(len(shared.time(handle, 2, CacheMode.HOT)) == 2 for handle in handles)


def test_killed_during_a_call() -> None:
    """The kernel did not do it: the call is made once more."""
    with HostDevice() as device:
        handle = device.load(artifact("slow"))
        device.verify(handle)
        first = device.worker_pid
        assert first is not None
        timer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        timer.start()
        assert len(device.time(handle, 400, CacheMode.HOT)) == 400  # 0.8 s
        timer.join()
        assert device.worker_pid != first


def test_stopped_worker_counts_as_hanging() -> None:
    with HostDevice(time_limit_s=0.5) as device:
        handle = device.load(artifact())
        assert device.worker_pid is not None
        os.kill(device.worker_pid, signal.SIGSTOP)
        with pytest.raises(KernelFailure) as caught:
            device.verify(handle)
        assert caught.value.kind is FailureKind.TIMEOUT
        device.verify(handle)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("/nonexistent/python",), "No such file"),
        ((sys.executable, "-c", "raise SystemExit('out of order')"), "out of order"),
        ((sys.executable, "-c", "import sys; sys.exit(4)"), "exit status 4"),
    ],
)
def test_worker_that_does_not_start(command: tuple[str, ...], said: str) -> None:
    with HostDevice(command=command) as device, pytest.raises(DeviceError) as caught:
        device.load(artifact())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failure_of_ours_is_not_blamed_on_the_kernel(shared: HostDevice) -> None:
    with pytest.raises(RuntimeError, match="Traceback"):
        shared.load(replace(artifact(), check=replace(artifact().check, seed=-1)))
    shared.verify(shared.load(artifact()))


def test_interrupt_ends_the_conversation() -> None:
    """Ctrl-C in the middle of a call must not leave an answer that the next call takes for its own."""
    with HostDevice() as device:
        slow, quick = device.load(artifact("slow")), device.load(artifact())
        device.verify(slow)
        timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            device.time(slow, 1000, CacheMode.HOT)
        timer.join()
        assert len(device.time(quick, 7, CacheMode.HOT)) == 7


def test_worker_dies_with_its_parent() -> None:
    """Busy or idle."""
    script = """
import sys, os
sys.path[:0] = sys.argv[1:3]
from devices.c_kernels import artifact
from profiler.devices.host import HostDevice
device = HostDevice(time_limit_s=60)
handle = device.load(artifact(sys.argv[3]))
print(device.worker_pid, flush=True)
if sys.argv[3] == "hangs":
    device.verify(handle)
sys.stdin.read()
"""
    package = str(Path(__file__).resolve().parents[2])
    for body in ("right", "hangs"):
        artifact(body)
        command = [sys.executable, "-c", script, package, str(Path(__file__).resolve().parents[1]), body]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            worker = int(parent.stdout.readline())
            time.sleep(0.3)
            parent.kill()
        assert _gone(worker)


def _gone(pid: int) -> bool:
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # dead, and not yet collected by whoever inherited it
            return True
        time.sleep(0.05)
    return False


def test_nothing_stays_behind() -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    for body in ("right", "segfaults"):
        with HostDevice() as device, suppress(KernelFailure):
            device.verify(device.load(artifact(body)))
    assert len(os.listdir("/proc/self/fd")) == open_before


_PARALLEL = """
static int task(int id, Env* env, void* data) {
    void** a = data;
    int8_t* y = a[1];
    static int8_t copy[2048];
    static int done[256];
    if (id == 0) pool(a);
    if (TVMBackendParallelBarrier(id, env)) return 1;
    for (int i = id; i < 2048; i += env->num_task) copy[i] = y[i];
    done[id] += 1;
    if (TVMBackendParallelBarrier(id, env)) return 1;
    if (id == env->num_task - 1) {
        memset(y, 0, 2048);
        for (int t = 1; t < env->num_task; ++t) if (done[t] != done[0]) return 1;
        memcpy(y, copy, 2048);
    }
    return 0;
}
static int fill(int id, Env* env, void* data) {
    for (int i = id; i < 2048; i += env->num_task) ((int8_t*)data)[i] = 3;
    return 0;
}
static int nested(int id, Env* env, void* data) { (void)id; (void)env; return TVMBackendParallelLaunch(fill, data, 5); }
static int failing(int id, Env* env, void* data) { (void)env; (void)data; return id == 0 ? 9 : 0; }
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_parallel_loops(shared: HostDevice, threads: int) -> None:
    """All tasks run, barriers hold, more tasks than threads and nested loops work, errors come back."""
    if threads > len(os.sched_getaffinity(0)):
        pytest.skip("too few CPUs")
    body = """
        int8_t* y = a[1];
        if (TVMBackendParallelLaunch(fill, y, 0) || y[0] != 3 || y[2047] != 3) abort();
        memset(y, 0, 2048);
        if (TVMBackendParallelLaunch(fill, y, 11) || y[0] != 3 || y[2047] != 3) abort();
        memset(y, 0, 2048);
        if (TVMBackendParallelLaunch(nested, y, 0) || y[0] != 3 || y[2047] != 3) abort();
        if (TVMBackendParallelLaunch(failing, y, 0) != 9) abort();
        if (TVMBackendParallelLaunch(task, a, 0)) abort();
    """
    handle = shared.load(artifact(body, threads=threads, extra=_PARALLEL))
    shared.verify(handle)
    for mode in CacheMode:
        shared.time(handle, 50, mode)
    time.sleep(0.01)  # helpers fall asleep
    shared.time(handle, 50, CacheMode.HOT)
    shared.verify(handle)
    shared.unload(handle)


def test_hooks_of_objects_that_are_no_system_library(shared: HostDevice) -> None:
    extra = (
        _PARALLEL + "__attribute__((weak)) int (*__TVMBackendParallelLaunch)(int (*)(int, Env*, void*), void*, int);"
    )
    body = "if (!__TVMBackendParallelLaunch || __TVMBackendParallelLaunch(task, a, 0)) abort();"
    shared.verify(shared.load(artifact(body, extra=extra)))


def test_one_thread_per_core_first(tmp_path: Path) -> None:
    def cpu(number: int, siblings: str, capacity: int) -> None:
        folder = tmp_path / f"cpu{number}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/thread_siblings_list").write_text(siblings)
        (folder / "cpu_capacity").write_text(str(capacity))

    for number in range(4):  # two fast cores of two threads each
        cpu(number, f"{number % 2},{number % 2 + 2}", 1024)
    for number in (4, 5):  # and two slow ones
        cpu(number, str(number), 512)
    assert choose_cpus(set(range(6)), tmp_path) == [3, 2, 5, 4, 1, 0]
    assert choose_cpus({0, 2, 4}, tmp_path) == [2, 4, 0]
    assert choose_cpus({7, 9}, tmp_path / "nothing") == [9, 7]


def test_fingerprint_changes_with_the_instrument_only() -> None:
    cpu = host_cpu()
    base = HostDevice(cpu).fingerprint("cc")
    assert HostDevice(replace(cpu, microcode=cpu.microcode + "1")).fingerprint("cc") != base
    assert HostDevice(replace(cpu, model="another")).fingerprint("cc") != base
    assert HostDevice(cpu).fingerprint("cc 2") != base
    more_cores = replace(cpu, cores=cpu.cores + 2)
    assert HostDevice(more_cores).fingerprint("cc") == base
    x86 = replace(cpu, features=frozenset({"sse2", "avx2", "fma"}))
    mitigated = replace(x86, features=x86.features | {"ibpb", "hypervisor"})
    assert HostDevice(x86).fingerprint("cc") == HostDevice(mitigated).fingerprint("cc")
    vnni = replace(x86, features=x86.features | {"avx512_vnni"})
    assert HostDevice(x86).fingerprint("cc") != HostDevice(vnni).fingerprint("cc")
    arm = replace(cpu, features=frozenset({"asimd", "asimddp"}))
    assert HostDevice(arm).fingerprint("cc") != HostDevice(replace(arm, features=frozenset({"asimd"}))).fingerprint(
        "cc"
    )


def test_clock_of_the_core_is_told(shared: HostDevice) -> None:
    handle = shared.load(artifact())
    shared.circumstances()
    shared.time(handle, 1, CacheMode.HOT)
    seen = shared.circumstances()
    assert seen.sm_clock_mhz_low is not None
    assert seen.sm_clock_mhz_high is not None
    assert 100 < seen.sm_clock_mhz_low <= seen.sm_clock_mhz_high < 10000
    assert shared.circumstances().sm_clock_mhz_low is None
