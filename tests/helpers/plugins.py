"""Hosts of LADSPA and LV2 plugins, by ctypes."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PORTS = INPUT, OUTPUT, MAX_ATTENUATION, MIX, BYPASS, LATENCY = range(6)
Handle, Unsigned, Wide = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_ulong


def function(result, *arguments):
    return ctypes.CFUNCTYPE(result, *arguments)


class RangeHint(ctypes.Structure):
    """LADSPA_PortRangeHint."""

    _fields_ = (("hints", ctypes.c_int), ("low", ctypes.c_float), ("high", ctypes.c_float))


class Ladspa(ctypes.Structure):
    """LADSPA_Descriptor of https://www.ladspa.org/ladspa_sdk/ladspa.h.txt."""

    _fields_ = (
        ("id", ctypes.c_ulong),
        ("label", ctypes.c_char_p),
        ("properties", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("maker", ctypes.c_char_p),
        ("copyright", ctypes.c_char_p),
        ("port_count", ctypes.c_ulong),
        ("port_kinds", ctypes.POINTER(ctypes.c_int)),
        ("port_names", ctypes.POINTER(ctypes.c_char_p)),
        ("port_hints", ctypes.POINTER(RangeHint)),
        ("implementation", ctypes.c_void_p),
        ("instantiate", function(Handle, Handle, Wide)),
        ("connect_port", function(None, Handle, Wide, ctypes.c_void_p)),
        ("activate", function(None, Handle)),
        ("run", function(None, Handle, Wide)),
        ("run_adding", ctypes.c_void_p),
        ("set_run_adding_gain", ctypes.c_void_p),
        ("deactivate", ctypes.c_void_p),
        ("cleanup", function(None, Handle)),
    )


class Lv2(ctypes.Structure):
    """LV2_Descriptor of https://lv2plug.in/ns/lv2core."""

    _fields_ = (
        ("uri", ctypes.c_char_p),
        ("instantiate", function(Handle, Handle, ctypes.c_double, ctypes.c_char_p, Handle)),
        ("connect_port", function(None, Handle, Unsigned, ctypes.c_void_p)),
        ("activate", function(None, Handle)),
        ("run", function(None, Handle, Unsigned)),
        ("deactivate", ctypes.c_void_p),
        ("cleanup", function(None, Handle)),
        ("extension_data", ctypes.c_void_p),
    )


def descriptor(library: Path, index: int = 0):
    """The plugin of a library, of either kind; None where it has no more of them."""
    loaded = ctypes.CDLL(str(library))
    kind = Ladspa if hasattr(loaded, "ladspa_descriptor") else Lv2
    find = loaded.ladspa_descriptor if kind is Ladspa else loaded.lv2_descriptor
    find.restype, find.argtypes = ctypes.POINTER(kind), [Wide if kind is Ladspa else Unsigned]
    found = find(index)
    return found.contents if found else None


class Plugin:
    """An instance of a plugin.

    Attributes:
        refused: Whether there is none at this rate.
        controls: float32, by port.
    """

    def __init__(self, library: Path, rate: int) -> None:
        self._kind = descriptor(library)
        address = ctypes.addressof(self._kind)
        if isinstance(self._kind, Ladspa):
            self._handle = self._kind.instantiate(address, rate)
        else:
            self._handle = self._kind.instantiate(address, rate, b"", None)
        self.refused = not self._handle
        self.controls = np.array([0, 0, 100, 0, 0, -1], np.float32)
        if isinstance(self._kind, Lv2):
            self.controls[BYPASS] = 1  # enabled
        if self.refused:
            return
        for port in range(MAX_ATTENUATION, LATENCY + 1):
            self._kind.connect_port(self._handle, port, self.controls[port:].ctypes.data)
        self.activate()

    def activate(self) -> None:
        self._kind.activate(self._handle)

    @property
    def latency(self) -> int:
        """Samples, as the plugin reports it."""
        return int(self.controls[LATENCY])

    def run(self, samples: np.ndarray, blocks: Sequence[int] = (480,)) -> np.ndarray:
        """Run over samples in place, in blocks whose sizes repeat; float32 [n] to [n]."""
        out, start, turn = np.array(samples, np.float32), 0, 0
        assert any(blocks)
        while start < len(out):
            block = out[start : start + blocks[turn % len(blocks)]]
            for port in (INPUT, OUTPUT):
                self._kind.connect_port(self._handle, port, block.ctypes.data)
            self._kind.run(self._handle, len(block))
            start += len(block)
            turn += 1
        return out

    def aligned(self, samples: np.ndarray, blocks: Sequence[int] = (480,)) -> np.ndarray:
        """The same, pushed out by silence: [n], in time with the input."""
        after = np.zeros(self.latency, np.float32)
        return self.run(np.concatenate([samples, after]), blocks)[self.latency :]

    def close(self) -> None:
        self._kind.cleanup(self._handle)
