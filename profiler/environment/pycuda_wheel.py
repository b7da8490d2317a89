"""PyCUDA, which comes as source only, built on a machine without a CUDA toolkit, and even without a driver.

    python -m profiler.environment.pycuda_wheel                    install it into this environment
    python -m profiler.environment.pycuda_wheel --wheel FOLDER     make the wheel, for another machine

Beside a C++ compiler and Python's headers, it takes NVIDIA's headers, which come from PyPI, and a libcuda to link
with. An empty one does: the driver's own takes its place when PyCUDA is imported. The headers are old on purpose. Newer
ones let PyCUDA ask for functions that a driver has only since then, and Python refuses a module that lacks one. cuRAND
and OpenGL, which PyCUDA can do without, are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from profiler.errors import ProfilerError

PYCUDA = "pycuda==2026.1"
HEADERS = ("nvidia-cuda-runtime-cu12==12.3.101", "nvidia-cuda-profiler-api-cu12==12.3.101")
"""The oldest that are there for x86-64 and aarch64 alike; what PyCUDA asks of the driver is the same as with 12.0."""

COMPILERS = ("g++", "c++", "clang++")
"""Any of them builds it."""
_TOOLKIT = Path("/usr/local/cuda")

Tell = Callable[[str], None]
"""Is told what is done now."""


class PycudaNotBuilt(ProfilerError):
    """PyCUDA cannot be built or installed on this machine as it is."""


def build_pycuda_wheel(folder: Path, python: Path | None = None, tell: Tell = lambda step: None) -> Path:
    """Build PyCUDA's wheel for that interpreter, or this one, and put it into the folder; its path.

    The wheel runs on machines whose C and C++ libraries are not older than those here. Takes about two minutes, and
    the network. Raises `PycudaNotBuilt`.
    """
    python = python or Path(sys.executable)
    compiler = _compiler()
    _need_python_headers(python)
    with tempfile.TemporaryDirectory(prefix="pycuda-") as temporary:
        work = Path(temporary)
        tell(f"fetching {PYCUDA} and NVIDIA's headers ...")
        includes = _headers(work / "headers", python)
        source = _source(work / "source", python)
        _write_options(source, includes, _empty_libcuda(work, compiler))
        tell(f"building {PYCUDA} with {compiler}; this takes a minute or two ...")
        wheels = work / "wheels"
        _pip(python, ["wheel", "--no-deps", "--wheel-dir", str(wheels), str(source)], compiler)
        (wheel,) = wheels.glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, folder))


def install_pycuda(tell: Tell = lambda step: None, anew: bool = False) -> bool:
    """Build PyCUDA and install it into the running environment, unless it is there already; whether that was done.

    anew : also if it is there. Raises `PycudaNotBuilt`.
    """
    if find_spec("pycuda") is not None and not anew:
        return False
    with tempfile.TemporaryDirectory(prefix="pycuda-") as temporary:
        wheel = build_pycuda_wheel(Path(temporary), tell=tell)
        tell(f"installing {PYCUDA} ...")
        python = Path(sys.executable)
        _pip(python, ["install", "--force-reinstall", "--no-deps", str(wheel)])
        _pip(python, ["install", str(wheel)])  # what it needs
    return True


def _compiler() -> str:
    for name in COMPILERS:
        if shutil.which(name):
            return name
    raise PycudaNotBuilt("PyCUDA is built from source, which needs a C++ compiler; install one (apt-get install g++)")


def _need_python_headers(python: Path) -> None:
    question = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], sysconfig.get_path('include'))"
    try:
        answer = subprocess.run([python, "-c", question], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise PycudaNotBuilt(f"{python} is not a Python that runs: {error}") from None
    version, _, include = answer.strip().partition(" ")
    if not (Path(include) / "Python.h").is_file():
        raise PycudaNotBuilt(
            f"PyCUDA is built from source, which needs Python.h in {include}; install it "
            f"(apt-get install python{version}-dev)"
        )


def _headers(folder: Path, python: Path) -> list[Path]:
    """The folders of cuda.h and cudaProfiler.h: from PyPI, or else of a toolkit that is installed."""
    done = _run_pip(python, ["download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), *HEADERS])
    if done.returncode:
        for include in _toolkits():
            if (include / "cudaProfiler.h").is_file():
                return [include]
        raise _pip_failed(done)
    for wheel in folder.glob("*.whl"):
        shutil.unpack_archive(wheel, folder, "zip")
    return sorted(folder.glob("nvidia/*/include"))


def _toolkits() -> list[Path]:
    nvcc = shutil.which("nvcc")
    return ([Path(nvcc).resolve().parents[1] / "include"] if nvcc else []) + [_TOOLKIT / "include"]


def _source(folder: Path, python: Path) -> Path:
    _pip(python, ["download", "--no-deps", "--no-binary", "pycuda", "--dest", str(folder), PYCUDA])
    (archive,) = folder.glob("pycuda-*.tar.gz")
    shutil.unpack_archive(archive, folder)
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    return source


def _empty_libcuda(folder: Path, compiler: str) -> Path:
    """A library without content, under the name by which the driver's is found when PyCUDA is imported."""
    library = folder / "libcuda.so"
    command = [compiler, "-shared", "-Wl,-soname,libcuda.so.1", "-o", str(library), "-x", "c++", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PycudaNotBuilt(f"{compiler} cannot link a library: {_reason(done.stderr)}")
    return library


def _write_options(source: Path, includes: Sequence[Path], libcuda: Path) -> None:
    """PyCUDA's siteconf.py, which its own configure.py would write."""
    options = {
        "USE_SHIPPED_BOOST": True,
        "CUDA_INC_DIR": [str(path) for path in includes],
        "CUDA_ENABLE_CURAND": False,
        "CUDA_ENABLE_GL": False,
        "CUDADRV_LIB_DIR": [],
        "CUDADRV_LIBNAME": [],
        "CXXFLAGS": ["-g0"],
        # Where the linker drops libraries that it sees no use for, it would drop an empty one.
        "LDFLAGS": ["-Wl,--no-as-needed", str(libcuda), "-Wl,--strip-all"],
    }
    (source / "siteconf.py").write_text("".join(f"{name} = {value!r}\n" for name, value in options.items()))


def _pip(python: Path, arguments: Sequence[str], compiler: str | None = None) -> None:
    done = _run_pip(python, arguments, compiler)
    if done.returncode:
        raise _pip_failed(done)


def _run_pip(python: Path, arguments: Sequence[str], compiler: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    environment = {**os.environ, "CC": compiler, "CXX": compiler} if compiler else None
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _pip_failed(done: subprocess.CompletedProcess[str]) -> PycudaNotBuilt:
    with tempfile.NamedTemporaryFile("w", prefix="pycuda-", suffix=".log", delete=False) as log:
        log.write(f"{' '.join(done.args)}\n{done.stdout}")
    return PycudaNotBuilt(f"pip could not do it: {_reason(done.stdout)} (all that it said: {log.name})")


def _reason(output: str) -> str:
    """The line that says why: the first that a compiler calls an error, else pip's last."""
    if "after connection broken by" in output:
        return "the package index cannot be reached; is there a network?"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    of_compiler = [line for line in lines if ": error: " in line or "fatal error: " in line]
    of_pip = [line[len("ERROR: ") :] for line in lines if line.startswith("ERROR: ")]
    return next(iter([*of_compiler, *of_pip[::-1], *lines[::-1]]), "it said nothing")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m profiler.environment.pycuda_wheel", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--wheel", type=Path, metavar="FOLDER", help="make the wheel there; install nothing")
    parser.add_argument("--python", type=Path, help="that the wheel is for (default: this one)")
    parser.add_argument("--force", action="store_true", help="build and install, also where PyCUDA is installed")
    wish = parser.parse_args(arguments)
    try:
        if wish.wheel:
            print(build_pycuda_wheel(wish.wheel, wish.python, _say))
        elif not install_pycuda(_say, wish.force):
            _say("PyCUDA is installed already")
    except ProfilerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _say(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
