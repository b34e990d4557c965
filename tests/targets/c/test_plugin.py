"""Plugins: what a host hears at every rate, in blocks of any size, while controls move."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soxr

import edge_se.cli
from edge_se import Enhancer
from edge_se.core.build import BuildError, compile_library, find_compiler
from edge_se.strength import Strength
from quant.c.engines import float_engine
from quant.graph.recipes import RECIPES
from targets.boards import find_board
from targets.c.checks.run import WARNINGS, plugin, write_sources
from targets.c.plugin import OPTIONS, ROOM, plugin_files, plugin_sources
from targets.cross import find_cross_compiler
from tests.helpers.plugins import BYPASS, MAX_ATTENUATION, MIX, Plugin, descriptor

PLAIN = Path(__file__).with_name("plain_engine.h")
RATES = (4000, 8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000, 384000)
HIGH = tuple(rate for rate in RATES if rate > 16000)
BLOCKS = [(1,), (255,), (256,), (8192,), (0, 1, 3, 1000, 0, 4096, 7, 64), (512, 480, 441)]


@pytest.fixture(scope="session")
def compiler() -> list[str]:
    try:
        return find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def folder(compiler, tmp_path_factory) -> Path:
    """What the command writes for the embedded network: a LADSPA plugin."""
    folder = tmp_path_factory.mktemp("ladspa")
    assert edge_se.cli.main(["compile", "--plugin", "ladspa", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def library(folder) -> Path:
    return folder / "edge_se_gtcrn.so"


@pytest.fixture(scope="session")
def names(checkpoint) -> dict[str, str]:
    return plugin_sources(float_engine(checkpoint, RECIPES["float"]), "plain", "nothing")


@pytest.fixture(scope="session")
def plain_sources(names, tmp_path_factory):
    """Folder with the sources of a plugin whose engine is `plain_engine.h`, with its samples."""

    def write(samples: str = "float") -> Path:
        folder = tmp_path_factory.mktemp("plain")
        for path in ROOM.glob("*.[ch]"):
            shutil.copy(path, folder)
        shutil.copy(PLAIN, folder / "engine.h")
        (folder / "engine_weights.h").write_text('#include "engine.h"\n')
        header = names["plugin_names.h"]
        if samples != "float":
            header = header.replace("typedef float", f"typedef {samples}")
            header = header.replace("INTEGER_SAMPLES 0", "INTEGER_SAMPLES 1")
        (folder / "plugin_names.h").write_text(header)
        return folder

    return write


@pytest.fixture(scope="session")
def plain(plain_sources, compiler):
    """A plugin whose engine multiplies by a gain."""
    made: dict[tuple[str, str], Path] = {}

    def make(kind: str = "ladspa", samples: str = "float") -> Path:
        if (kind, samples) not in made:
            folder = plain_sources(samples)
            library = folder / f"{kind}.so"
            compile_library(library, [folder / f"{kind}.c"], compiler, OPTIONS)
            made[kind, samples] = library
        return made[kind, samples]

    return make


def noise(count: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(count)).astype(np.float32)


def snr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((found - wanted) ** 2)))


def below(samples: np.ndarray, rate: int, hz: float) -> np.ndarray:
    """What of some samples lies below a frequency."""
    spectrum = np.fft.rfft(samples)
    spectrum[round(hz * len(samples) / rate) :] = 0
    return np.fft.irfft(spectrum, len(samples))


# The embedded network ------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", BLOCKS)
def test_at_the_networks_rate_it_gives_what_enhance_does(library, noisy, blocks):
    one = Plugin(library, 16000)

    enhanced = one.aligned(noisy[0], blocks)

    assert one.latency == 512
    np.testing.assert_allclose(enhanced, Enhancer("gtcrn", engine="c").enhance(noisy[0]), atol=1e-6)


def test_ul_unas_is_a_plugin_too(compiler, assets, noisy, tmp_path):
    checkpoint = str(assets / "ul_unas" / "model_trained_on_dns3.tar")
    float_file = tmp_path / "float.tflite"
    for command in (
        ["compile", checkpoint, "--plugin", "ladspa", "--out", str(tmp_path)],
        ["quantize", checkpoint, "--precision", "float", "--out", str(float_file)],
    ):
        assert edge_se.cli.main(command) == 0

    enhancer = Enhancer(float_file, engine="c")
    for rate in (16000, 48000):
        heard = soxr.resample(noisy[0], 16000, rate)
        heard += noise(len(heard), 0.01)

        enhanced = Plugin(tmp_path / "edge_se_ul_unas.so", rate).aligned(heard)

        assert snr_db(enhancer.enhance(heard, rate), enhanced) > 120


@pytest.mark.parametrize("rate", [8000, 11025, 32000, 44100, 48000, 96000])
def test_at_other_rates_too(library, noisy, rate):
    heard = soxr.resample(np.concatenate(noisy), 16000, rate)
    heard += noise(len(heard), 0.01)

    enhanced = Plugin(library, rate).aligned(heard)

    wanted = Enhancer("gtcrn", engine="c").enhance(heard, rate)
    np.testing.assert_allclose(enhanced, wanted, atol=1e-6)
    assert snr_db(wanted, enhanced) > 120


def test_of_8_bits_too(compiler, noisy, tmp_path):
    """A network of 8 bits goes another way where one of its 16-bit samples is another one."""
    model = tmp_path / "int8.tflite"
    for command in (
        ["quantize", "--precision", "int8", "--out", str(model)],
        ["compile", str(model), "--plugin", "ladspa", "--out", str(tmp_path)],
    ):
        assert edge_se.cli.main(command) == 0

    enhancer = Enhancer(model)
    for rate in (8000, 16000, 44100, 48000, 192000):
        for clip in noisy:
            heard = soxr.resample(clip, 16000, rate)
            heard += noise(len(heard), 1e-3)

            enhanced = Plugin(tmp_path / "edge_se_gtcrn.so", rate).aligned(heard)

            np.testing.assert_allclose(enhanced, enhancer.enhance(heard, rate), atol=1e-6)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(("control", "value"), [(MAX_ATTENUATION, 12.0), (MIX, 0.3)])
def test_strength_is_that_of_enhance(library, noisy, rate, control, value):
    heard = soxr.resample(noisy[0], 16000, rate)
    one, enhancer = Plugin(library, rate), Enhancer("gtcrn", engine="c")
    one.controls[control] = value

    enhanced = one.aligned(heard)

    enhancer.strength = Strength(value) if control == MAX_ATTENUATION else Strength(mix=value)
    np.testing.assert_allclose(enhanced, enhancer.enhance(heard, rate), atol=2e-6)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(
    ("control", "values"), [(MAX_ATTENUATION, (100, 0)), (MIX, (0, 1)), (BYPASS, (0, 1))]
)
def test_controls_that_jump_make_no_clicks(library, rate, control, values):
    """A tone that the network takes away comes and goes within a hop, not at once."""
    one = Plugin(library, rate)
    tone = (0.5 * np.sin(2 * np.pi * 440 / rate * np.arange(4 * rate))).astype(np.float32)
    parts = []
    for turn, start in enumerate(range(0, len(tone), 1000)):
        one.controls[control] = values[turn % 2]
        parts.append(one.run(tone[start : start + 1000]))

    out = np.concatenate(parts)[rate:]

    # A sine bends by its own frequency squared; a fade over a hop adds little to that.
    own = 0.5 * (2 * np.pi * 440 / rate) ** 2
    assert np.abs(np.diff(out, 2)).max() < 1.5 * own
    loudest = np.abs(out[: len(out) // 100 * 100].reshape(-1, 100)).max(axis=1)
    assert loudest.max() > 0.4 and loudest.min() < 0.01


def test_it_is_small_and_needs_the_c_library_alone(library):
    assert library.stat().st_size <= 200_000
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    listed = ["readelf", "--wide", "--dynamic", "--dyn-syms", str(library)]
    told = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    needed = {line.split("[")[1][:-1] for line in told.splitlines() if "(NEEDED)" in line}
    fields = [line.split() for line in told.splitlines() if " GLOBAL DEFAULT " in line]
    assert needed <= {"libc.so.6", "libm.so.6"}
    assert [field[7] for field in fields if field[6] != "UND"] == ["ladspa_descriptor"]


# Its files ------------------------------------------------------------------------------------


def test_pipewires_file_names_the_plugin_where_it_is(folder, library):
    told = (folder / "edge_se_gtcrn.conf").read_text()

    assert f'plugin = "{library.resolve()}"' in told
    plugin = descriptor(library)
    controls = re.search("control = {(.*)}", told)
    assert controls is not None
    names = [plugin.port_names[port].decode() for port in (MAX_ATTENUATION, MIX, BYPASS)]
    assert re.findall('"(.*?)" =', controls[1]) == names
    assert plugin.label == b"edge_se_gtcrn"


@pytest.fixture(scope="session")
def for_board(checkpoint) -> dict[str, bytes]:
    """An LV2 plugin for a board, by the same way as the command's."""
    compiler = find_cross_compiler(find_board("pi4").platform)
    engine = float_engine(checkpoint, RECIPES["float"])
    return plugin_files("lv2", engine, "mine", "here", compiler, None)


def test_a_board_gets_a_bundle_of_its_own_machine(for_board):
    library = for_board["mine.lv2/mine.so"]

    assert set(for_board) == {
        f"mine.lv2/{name}" for name in ("mine.so", "mine.ttl", "manifest.ttl", "mine.conf")
    }
    assert int.from_bytes(library[18:20], "little") == 183  # ELF's number for 64-bit Arm
    assert len(library) <= 200_000
    assert b"urn:edge-se:mine" in library


def test_the_bundle_describes_the_ports_that_there_are(for_board, plain):
    described = for_board["mine.lv2/mine.ttl"].decode()
    manifest = for_board["mine.lv2/manifest.ttl"].decode()

    symbols = re.findall('lv2:index ([0-9]) ;\\s+lv2:symbol "(.*?)"', described)
    names = ("in", "out", "max_attenuation", "mix", "enabled", "latency")
    assert symbols == [(str(port), name) for port, name in enumerate(names)]
    defaults = re.findall("lv2:default ([0-9.]+)", described)
    assert [float(value) for value in defaults] == [*Plugin(plain("lv2"), 1).controls[2:5], 0]
    for text in (described, manifest):
        assert "<urn:edge-se:mine>\n    a lv2:Plugin" in text
    assert "lv2:binary <mine.so>" in manifest and "rdfs:seeAlso <mine.ttl>" in manifest
    assert 'plugin = "urn:edge-se:mine"' in for_board["mine.lv2/mine.conf"].decode()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--out", "FILE"], "is no folder"),
        (["--out", "FILE/deeper"], "FILE/deeper can't be written"),
        (["--out", "NEW", "--prefix", "a-b"], "--prefix a-b"),
        (["--out", "NEW", "--board", "nonsense"], "nonsense"),
        (["--out", "NEW", "--npu", "ethos-u55-128"], "--plugin means nothing"),
        (["--out", "NEW", "--calibration-clips", "."], "--calibration-clips"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, named):
    (tmp_path / "FILE").touch()
    monkeypatch.chdir(tmp_path)

    code = edge_se.cli.main(["compile", "--plugin", "ladspa", *arguments])

    told = capsys.readouterr().err
    assert code == 2 and told.count("\n") == 1 and named in told
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


# Rates, with an engine that changes nothing, or multiplies --------------------------------------


@pytest.mark.parametrize("rate", HIGH)
@pytest.mark.parametrize("kind", ["ladspa", "lv2"])
def test_where_the_network_changes_nothing_every_sample_passes(plain, rate, kind):
    samples = noise(rate)
    one = Plugin(plain(kind), rate)

    passed = one.aligned(samples, (480, 1, 2000))

    np.testing.assert_allclose(passed, samples, atol=1e-6)
    assert 0.038 <= one.latency / rate < 0.0382


@pytest.mark.parametrize("rate", HIGH)
def test_the_whole_band_is_attenuated_alike(plain, rate):
    samples = noise(2 * rate)
    one = Plugin(plain(), rate)
    one.controls[MAX_ATTENUATION] = 20

    passed = one.aligned(samples)[rate:]

    window = np.hanning(len(passed))
    before, after = (np.abs(np.fft.rfft(window * x)) ** 2 for x in (samples[rate:], passed))
    bands = len(before) // 50 * 50
    gains = after[:bands].reshape(50, -1).sum(1) / before[:bands].reshape(50, -1).sum(1)
    np.testing.assert_allclose(10 * np.log10(gains), -20, atol=0.1)


@pytest.mark.parametrize("rate", [4000, 8000, 11025])
def test_lower_rates_keep_their_band(plain, rate):
    samples = below(noise(rate), rate, 0.42 * rate).astype(np.float32)
    one = Plugin(plain(), rate)

    passed = one.aligned(samples)

    middle = slice(rate // 4, -rate // 4)
    assert snr_db(samples[middle], passed[middle]) > 60


@pytest.mark.parametrize("rate", [0, 3999, 44099, 384001])
@pytest.mark.parametrize("kind", ["ladspa", "lv2"])
def test_a_rate_that_no_card_has_is_refused(plain, rate, kind):
    assert Plugin(plain(kind), rate).refused


@pytest.mark.parametrize("rate", [16000, 44100])
def test_bypassed_it_is_the_input_as_late(plain, rate):
    samples = noise(rate)
    one = Plugin(plain(), rate)
    one.controls[BYPASS] = 1

    np.testing.assert_array_equal(one.aligned(samples), samples)


def test_in_lv2_it_is_bypassed_where_it_is_not_enabled(plain):
    samples = noise(16000)
    one = Plugin(plain("lv2"), 16000)
    one.controls[[MAX_ATTENUATION, BYPASS]] = 40, 0

    np.testing.assert_array_equal(one.aligned(samples), samples)


def test_an_engine_in_integers_gets_rounded_samples_that_are_cut_off(plain):
    samples = noise(4000, 0.6)
    one = Plugin(plain(samples="int16_t"), 16000)

    passed = one.aligned(samples)

    steps = np.clip(np.rint(samples * 32768), -32768, 32767)
    assert (np.abs(samples) > 1).any()
    np.testing.assert_array_equal(passed, steps / 32768)


# Hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [16000, 44100])
def test_blocks_change_no_sample(plain, rate):
    samples = noise(rate)
    wanted = Plugin(plain(), rate).run(samples, (rate,))

    for blocks in BLOCKS:
        np.testing.assert_array_equal(Plugin(plain(), rate).run(samples, blocks), wanted)


def test_instances_know_nothing_of_each_other(plain):
    samples = noise(8000)
    first, second = Plugin(plain(), 16000), Plugin(plain(), 48000)
    second.controls[MAX_ATTENUATION] = 30

    parts = []
    for start in range(0, len(samples), 500):
        second.run(noise(500))
        parts.append(first.run(samples[start : start + 500]))
    second.close()

    wanted = Plugin(plain(), 16000).run(samples)
    np.testing.assert_array_equal(np.concatenate(parts), wanted)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_activating_forgets_all_samples(plain, rate):
    samples = noise(rate)
    one = Plugin(plain(), rate)
    one.controls[MAX_ATTENUATION] = 6
    first = one.run(samples)

    one.activate()

    np.testing.assert_array_equal(one.run(samples), first)


def test_the_latency_is_told_before_any_sample(plain):
    one = Plugin(plain(), 48000)
    told_by_activate, one.controls[5] = one.latency, -1
    one._kind.run(one._handle, 0)

    assert told_by_activate == one.latency == 1824


@pytest.mark.parametrize("rate", [16000, 48000])
def test_samples_that_are_no_numbers_are_forgotten(library, rate):
    one = Plugin(library, rate)
    one.run(np.full(rate // 4, np.nan, np.float32))
    strange = one.run(np.array([np.inf, -np.inf, 3e38, -3e38, 1e-40] * 999, np.float32))

    out = one.run(noise(2 * rate))

    assert np.isfinite(strange).all()
    assert np.isfinite(out).all() and np.abs(out[rate:]).max() < 1


def test_under_sanitizers_a_host_may_do_anything(plain_sources, compilers):
    said = plugin(plain_sources(), compilers[0], ("ladspa.c",))

    assert said == "360 blocks at 9 rates, all finite, no memory allocated"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ladspa", "lv2"])
def test_ffmpeg_hears_what_enhance_gives(folder, library, noisy, kind, tmp_path, monkeypatch):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    if kind == "lv2":
        assert edge_se.cli.main(["compile", "--plugin", "lv2", "--out", str(tmp_path)]) == 0
        monkeypatch.setenv("LV2_PATH", str(tmp_path))
        effect = r"lv2=p=urn\\:edge-se\\:edge_se_gtcrn:c=mix=0.25"
    else:
        effect = f"ladspa=file={library}:plugin=edge_se_gtcrn:c=c1=0.25"
    raw = ["-f", "f32le", "-ar", "16000", "-ac", "1"]
    command = ["ffmpeg", "-v", "error", *raw, "-i", "-", "-af", effect, *raw, "-"]

    heard = subprocess.run(command, input=noisy[0].tobytes(), capture_output=True, timeout=60)

    assert not heard.returncode, heard.stderr
    enhancer = Enhancer("gtcrn", engine="c")
    enhancer.mix = 0.25
    out = np.frombuffer(heard.stdout, np.float32)[512:]
    np.testing.assert_allclose(out, enhancer.enhance(noisy[0])[: len(out)], atol=1e-6)
    assert len(out) > 20000


@pytest.mark.slow
def test_the_embedded_network_withstands_that_host(checkpoint, compilers, tmp_path):
    write_sources(
        plugin_sources(float_engine(checkpoint, RECIPES["float"]), "checked", "default"), tmp_path
    )

    assert "all finite, no memory allocated" in plugin(tmp_path, compilers[-1])


@pytest.mark.parametrize("samples", ["float", "int16_t"])
def test_compilers_have_nothing_to_say_of_plugins(plain_sources, compilers, samples):
    folder = plain_sources(samples)

    for compiler in compilers:
        for kind in ("ladspa", "lv2"):
            command = [compiler, "-std=c99", "-fsyntax-only", *WARNINGS, str(folder / f"{kind}.c")]
            subprocess.run(command, check=True)
