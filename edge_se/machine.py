"""What the machine tells about itself; every figure that it does not tell is None."""

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip("\x00\n ")
    except OSError:
        return None


def _entry(text: str | None, *keys: str) -> str | None:
    """Value of the first `key : value` line whose key is among `keys`."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys and value.strip():
            return value.strip()
    return None


def _number(text: str | None, factor: float) -> float | None:
    digits = (text or "").split()[0] if (text or "").split() else ""
    return round(int(digits) * factor, 1) if digits.lstrip("-").isdigit() else None


def cpu_model() -> str | None:
    """Name of the board or processor."""
    return (
        _read("/proc/device-tree/model")
        or _entry(_read("/proc/cpuinfo"), "model name", "Model", "Hardware")
        or platform.processor()
        or None
    )


def processor_features() -> set[str]:
    """What /proc/cpuinfo says that the first core can do, in its words."""
    return set((_entry(_read("/proc/cpuinfo"), "flags", "Features") or "").split())


def temperature() -> float | None:
    """Hottest thermal zone, in degrees Celsius."""
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    values = [value for zone in zones if (value := _number(_read(str(zone)), 1e-3)) is not None]
    return max(values, default=None)


def clock_mhz() -> float | None:
    """Present clock of the first core, in MHz."""
    clock = _number(_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"), 1e-3)
    if clock is None:
        told = _entry(_read("/proc/cpuinfo"), "cpu MHz")
        clock = round(float(told), 1) if told else None
    return clock


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Processor, system and what sets its speed, at this moment."""
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_mhz": clock_mhz(),
        "temperature_c": temperature(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "memory_mb": _memory_figure("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _memory_figure(path: str, key: str) -> float | None:
    return _number(_entry(_read(path), key), 1.024e-3)


def resident_mb() -> float | None:
    """Memory of this process now, in MB (10^6 bytes)."""
    return _memory_figure("/proc/self/status", "VmRSS")


def peak_resident_mb() -> float:
    """Largest memory this process ever had, in MB (10^6 bytes)."""
    peak = _memory_figure("/proc/self/status", "VmHWM")
    if peak is None:  # ru_maxrss may include the parent's memory at the fork
        import resource

        unit = 1e-6 if sys.platform == "darwin" else 1.024e-3
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, 1)
    return peak


def seconds_since_start() -> float | None:
    """Time since this process was started, to the system's clock tick."""
    status = _read("/proc/self/stat")
    if status is None:
        return None
    started = int(status.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 3)
