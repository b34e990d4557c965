"""Plugins as elements of GStreamer, whose properties move while sound flows."""

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edge_se.cli
from edge_se import Enhancer
from tests.helpers.plugins import BYPASS, MAX_ATTENUATION, MIX, Plugin

RATE, LATENCY = 16000, 512
# GStreamer ignores the default of an LV2 switch, which is on.
ELEMENTS = {
    "ladspa": "ladspa-edge-se-gtcrn-so-edge-se-gtcrn",
    "lv2": "urn-edge-se-edge-se-gtcrn enabled=true",
}
NULL, PLAYING = 1, 4  # GstState
LONGEST_NS = 10**10


@pytest.fixture(scope="module")
def folder(tool, tmp_path_factory) -> Iterator[Path]:
    """Plugins of both kinds, and GStreamer looks for them there."""
    tool("gst-launch-1.0")
    folder = tmp_path_factory.mktemp("plugins")
    for kind in ELEMENTS:
        assert edge_se.cli.main(["compile", "--plugin", kind, "--out", str(folder)]) == 0
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LADSPA_PATH", "LV2_PATH"):
            patch.setenv(name, str(folder))
        patch.setenv("GST_REGISTRY", str(folder / "registry"))
        yield folder


class Object(ctypes.c_void_p):
    """Anything of GStreamer's."""


class Pipeline:
    """A plugin in a pipeline that takes and gives blocks, by ctypes."""

    def __init__(self, element: str) -> None:
        self._gst, self._app = (
            ctypes.CDLL(f"lib{name}-1.0.so.0") for name in ("gstreamer", "gstapp")
        )
        for made in ("parse_launch", "bin_get_by_name", "buffer_new_memdup", "sample_get_buffer"):
            getattr(self._gst, f"gst_{made}").restype = Object
        self._app.gst_app_sink_try_pull_sample.restype = Object
        self._gst.gst_init(None, None)
        caps = f"audio/x-raw,format=F32LE,rate={RATE},channels=1,layout=interleaved"
        line = f"appsrc name=in caps={caps} ! {element} name=plugin ! appsink name=out sync=false"
        self._whole = self._gst.gst_parse_launch(line.encode(), None)
        self._in, self._plugin, self._out = (
            self._gst.gst_bin_get_by_name(self._whole, name) for name in (b"in", b"plugin", b"out")
        )
        self._gst.gst_element_set_state(self._whole, PLAYING)

    def set(self, name: str, value: str) -> None:
        self._gst.gst_util_set_object_arg(self._plugin, name.encode(), value.encode())

    def run(self, block: np.ndarray) -> np.ndarray:
        """What becomes of a block, float32 [n] to [n]."""
        size, out = ctypes.c_size_t(block.nbytes), np.empty_like(block)
        buffer = self._gst.gst_buffer_new_memdup(ctypes.c_void_p(block.ctypes.data), size)
        assert self._app.gst_app_src_push_buffer(self._in, buffer) == 0
        given = self._app.gst_app_sink_try_pull_sample(self._out, ctypes.c_uint64(LONGEST_NS))
        assert given, "no sample came out"
        into = ctypes.c_void_p(out.ctypes.data)
        buffer = self._gst.gst_sample_get_buffer(given)
        assert self._gst.gst_buffer_extract(buffer, ctypes.c_size_t(0), into, size) == out.nbytes
        self._gst.gst_mini_object_unref(given)
        return out

    def close(self) -> None:
        self._gst.gst_element_set_state(self._whole, NULL)
        for one in (self._in, self._plugin, self._out, self._whole):
            self._gst.gst_object_unref(one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ELEMENTS)
def test_gstreamer_hears_what_enhance_gives(folder, tool, noisy, kind):
    raw = f"rawaudioparse pcm-format=f32le sample-rate={RATE} num-channels=1"
    line = f"fdsrc ! {raw} ! {ELEMENTS[kind]} mix=0.25 ! fdsink"
    command = [tool("gst-launch-1.0"), "--quiet", *line.split()]

    heard = subprocess.run(command, input=noisy[0].tobytes(), capture_output=True, timeout=60)

    assert not heard.returncode, heard.stderr
    enhancer = Enhancer("gtcrn", engine="c")
    enhancer.mix = 0.25
    out = np.frombuffer(heard.stdout, np.float32)[LATENCY:]
    np.testing.assert_allclose(out, enhancer.enhance(noisy[0])[: len(out)], atol=1e-6)
    assert len(out) == len(noisy[0]) - LATENCY


@pytest.mark.slow
@pytest.mark.parametrize("kind", ELEMENTS)
def test_properties_move_controls_from_the_next_block_on(folder, noisy, kind):
    switch = ("bypass", "true", "false") if kind == "ladspa" else ("enabled", "false", "true")
    off, on = (switch[0], switch[1]), (switch[0], switch[2])
    moves = (("mix", "0.25"), ("max-attenuation", "6"), off, on, ("mix", "0"))
    ports = (MIX, 0.25), (MAX_ATTENUATION, 6), (BYPASS, 1), (BYPASS, 0), (MIX, 0)
    pipeline, wanted = Pipeline(ELEMENTS[kind]), Plugin(folder / "edge_se_gtcrn.so", RATE)

    for block, move, (port, value) in zip(noisy[0].reshape(5, -1), moves, ports, strict=True):
        pipeline.set(*move)
        wanted.controls[port] = value
        np.testing.assert_array_equal(pipeline.run(block), wanted.run(block, (len(block),)))
    pipeline.close()
