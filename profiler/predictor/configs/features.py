"""Numbers that describe a kernel and a schedule config, scaled so that a step of 1 is a moderate difference."""

from __future__ import annotations

from profiler.errors import InvalidConfig
from profiler.hardware import CpuSpec, GpuSpec
from profiler.predictor.configs.cpu_features import cpu_features
from profiler.predictor.configs.feature_vector import Features
from profiler.predictor.configs.gpu_features import gpu_features
from profiler.space import gpu_model, model
from profiler.space.config import CpuConfig, GpuConfig, ScheduleConfig, template_of, to_text
from profiler.workload import KernelSpec

DeviceSpec = CpuSpec | GpuSpec


def features(spec: KernelSpec, config: ScheduleConfig, device: DeviceSpec) -> Features:
    """The features of a valid config of the kernel. Raises `InvalidConfig` for a config of another kind of device."""
    if isinstance(device, CpuSpec):
        return cpu_features(spec, _of_cpu(config), device)
    return gpu_features(spec, _of_gpu(config), device)


def feature_family(config: ScheduleConfig) -> str:
    """The same for templates whose features are of one kind, so that one regression learns from both."""
    name = template_of(config)
    return "lookup" if name == "popcount" else name


def modelled_s(spec: KernelSpec, config: ScheduleConfig, device: DeviceSpec, threads: int = 1) -> float:
    """Latency in seconds of a valid config by the analytic model of the device; ``threads`` are of a CPU.

    Raises `InvalidConfig` for a config of another kind of device.
    """
    if isinstance(device, CpuSpec):
        return model.analytic_latency_s(spec, _of_cpu(config), device, threads)
    return gpu_model.analytic_latency_s(spec, _of_gpu(config), device)


def _of_cpu(config: ScheduleConfig) -> CpuConfig:
    if isinstance(config, CpuConfig):
        return config
    raise InvalidConfig(f"{to_text(config)} is not a config of a CPU kernel")


def _of_gpu(config: ScheduleConfig) -> GpuConfig:
    if isinstance(config, GpuConfig):
        return config
    raise InvalidConfig(f"{to_text(config)} is not a config of a GPU kernel")
