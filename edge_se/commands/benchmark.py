"""Measure the time per frame, the real-time factor and the memory of a model on this machine."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_se.errors import UserError, printable
from edge_se.options import (
    add_model_arguments,
    add_strength_arguments,
    asked_strength,
    input_path,
    model_path,
    output_file,
    positive_float,
)

if TYPE_CHECKING:
    from edge_se.benchmark import Measurement
    from edge_se.stft import Samples

DEFAULT_SECONDS = 30.0
MOST_SECONDS = 86400.0  # a day, whose frame times still fit into a small board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_measuring_arguments(parser, DEFAULT_SECONDS)
    add_strength_arguments(parser)
    parser.add_argument(
        "--paced", action="store_true", help="feed frames at real time and report wake-up jitter"
    )
    parser.add_argument(
        "--histogram",
        type=output_file,
        metavar="FILE",
        help="draw the frame times, as .png, .svg or .pdf (needs matplotlib)",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        type=model_path,
        default=[],
        metavar="PEER",
        help="time these by turns with the model: other models of edge-se, c (the C engine built "
        "in), the authors' streaming ONNX of GTCRN or UL-UNAS, a folder with both stages of DTLN, "
        "rnnoise "
        "(the library of pip's pyrnnoise or of the system; or a librnnoise.so), or webrtc (pip's "
        "webrtc-noise-gain)",
    )


def add_measuring_arguments(parser: argparse.ArgumentParser, default_seconds: float) -> None:
    """Declare what times a model here, and counts its instructions on an emulated board."""
    add_model_arguments(parser)
    parser.add_argument(
        "--audio",
        type=input_path,
        metavar="FILE",
        help="audio to process (default: bursts of noise)",
    )
    parser.add_argument(
        "--seconds",
        type=positive_float(MOST_SECONDS),
        metavar="S",
        help=f"how much audio to process, repeating the file where it is shorter (default: the "
        f"whole file, or {default_seconds:g})",
    )
    parser.add_argument(
        "--max-rtf",
        type=positive_float(),
        metavar="X",
        help="exit 1 if the real-time factor, or a worst projection, is above X",
    )
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="write the report as JSON (-: standard output)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.benchmark import frames_of, load, measure
    from edge_se.files import STANDARD, write_json

    if arguments.histogram is not None:  # before minutes of measuring
        _require_picture(arguments.histogram)
    loaded = load(arguments.model, arguments.engine, arguments.runtime, arguments.stft)
    loaded.enhancer.strength = asked_strength(arguments, loaded.enhancer.strength)
    samples = samples_of(arguments.audio, loaded.enhancer.sample_rate)
    frames = frames_of(samples, loaded.enhancer.hop_size, loaded.enhancer.sample_dtype)
    count = len(frames)
    if arguments.seconds is not None or arguments.audio is None:
        seconds = arguments.seconds or DEFAULT_SECONDS
        count = max(1, round(seconds * loaded.enhancer.sample_rate / loaded.enhancer.hop_size))
    measurement = measure(loaded, frames, count, arguments.paced)
    report = measurement.report
    if arguments.compare:  # after the measurement, whose memory figures know nothing of the peers
        from edge_se.comparison import compare
        from edge_se.peers import Ours, load_peer

        peers = [Ours(loaded.enhancer), *map(load_peer, arguments.compare)]
        seconds = count * loaded.enhancer.hop_size / loaded.enhancer.sample_rate
        report["comparison"] = compare(peers, samples, seconds)
    if arguments.json is not None:
        write_json(arguments.json, report)
    if arguments.histogram is not None:
        _draw_histogram(arguments.histogram, measurement)
    if str(arguments.json) != STANDARD:
        print(format_report(report))
    if arguments.max_rtf is not None and report["rtf"] > arguments.max_rtf:
        print(
            f"edge-se: real-time factor {report['rtf']:.4g} is above {arguments.max_rtf:g}",
            file=sys.stderr,
        )
        return 1
    return 0


def _engine(model: dict[str, Any]) -> str:
    arithmetic = f" in {model['arithmetic']}" if "arithmetic" in model else ""
    return f"{model['runtime']} {model['runtime_version']}{arithmetic}, {model['threads']} thread"


def format_report(report: dict[str, Any]) -> str:
    """The report as a table for people; what the machine does not tell is left out."""
    model, machine, frame = report["model"], report["machine"], report["frame_us"]
    rows = [
        ("model", f"{model['file']} ({model['architecture']}, {model['precision']})"),
        ("size", f"{model['size_kb']} kB"),
        ("engine", _engine(model)),
        ("STFT", model["stft"]),
    ]
    if "xnnpack_share" in model:
        rows.append(("XNNPACK", f"{100 * model['xnnpack_share']:.0f} % of the operators"))
    clock, heat = machine["clock_mhz"], machine["temperature_c"]
    machine_words = [
        machine["cpu"],
        machine["architecture"],
        machine["governor"] and f"governor {machine['governor']}",
        clock and f"{clock:.0f} MHz",
        heat and f"{heat:.1f} °C",
        machine["load"] is not None and f"load {machine['load']:.2f}",
    ]
    stages = ", ".join(f"{name} {value}" for name, value in report["stage_us"].items())
    rows += [
        ("machine", ", ".join(word for word in machine_words if word)),
        ("audio", f"{report['frames']} frames of {report['hop_ms']:g} ms"),
        ("time per frame", ", ".join(f"{k} {v}" for k, v in frame.items()) + " µs"),
        ("stages, median", f"{stages} µs"),
        ("real-time factor", f"{report['rtf']:.5f} ({1 / report['rtf']:.0f} times real time)"),
        ("deadline misses", f"{report['deadline_misses']} of {report['frames']}"),
    ]
    if "wake_up_us" in report:
        late = ", ".join(f"{k} {v}" for k, v in report["wake_up_us"].items())
        rows.append(("wake-up late by", f"{late} µs"))
    start, before = report["start_s"], report["rss_before_load_mb"]
    rows += [
        (
            "latency",
            f"{report['latency_ms']:g} ms algorithmic, {frame['p50'] / 1000:.3f} ms compute",
        ),
        ("load", f"{report['load_s']:.3f} s"),
        ("start to first frame", start and f"{start:.2f} s"),
        ("peak memory", f"{report['peak_rss_mb']} MB"),
        ("memory before loading", before and f"{before} MB"),
    ]
    # A model's names are whatever its file says.
    table = "\n".join(printable(f"{name:<22} {value}") for name, value in rows if value)
    if "comparison" in report:
        from edge_se.comparison import format_comparison

        table += f"\n\n{format_comparison(report['comparison'])}"
    return table


def samples_of(path: Path | None, rate: int) -> "Samples":
    """A file's mean of channels at a rate, or bursts of noise: float32 [n].

    Raises:
        UserError: The file can't be read, or holds no samples.
    """
    from edge_se.audio import read
    from edge_se.benchmark import bursts
    from edge_se.resampling import resample

    if path is None:
        return bursts(rate)
    recording = read(path)
    samples = resample(recording.samples.mean(axis=1), recording.rate, rate)
    if not len(samples):
        raise UserError(f"{path} holds no samples; give a longer file")
    return samples


def _import_pyplot() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise UserError("--histogram needs matplotlib; pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _require_picture(path: Path) -> None:
    """Raise UserError where a picture of that name can't be drawn."""
    formats = _import_pyplot().Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise UserError(f"{path} names no kind of picture by its suffix; use .png, .svg or .pdf")


def _draw_histogram(path: Path, measurement: "Measurement") -> None:
    from edge_se.files import written_beside

    pyplot = _import_pyplot()
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    axes.hist(measurement.times / 1000, bins=100, log=True)
    for name, value in measurement.report["frame_us"].items():
        axes.axvline(value, color="black", linewidth=0.7, linestyle=":")
        axes.text(value, axes.get_ylim()[1], name, rotation=90, ha="right", va="top", fontsize=8)
    axes.set_xlabel("time per frame, µs")
    axes.set_ylabel("frames")
    axes.set_title(f"{measurement.report['model']['file']}: RTF {measurement.report['rtf']:.5f}")
    with written_beside(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=120)
