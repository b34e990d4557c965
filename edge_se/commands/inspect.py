"""Show what is inside a model file: states with scales, operators by precision, size, latency."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_se.engines import ENGINES, RUNTIMES
from edge_se.errors import printable
from edge_se.level import DB_PER_OCTAVE, ONE, TOO_LOUD, TOO_SOFT, largest_exponent
from edge_se.manifest import BandMerging
from edge_se.options import model_path, output_file
from edge_se.signal import Signal
from edge_se.text_table import aligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "file",
        type=model_path,
        help="a .tflite, .onnx or .so, or a built-in model's name",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="TFLite interpreter (default: the first of these that is installed)",
    )
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="write everything as JSON (-: standard output)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.files import STANDARD, write_json
    from edge_se.inspection import inspect_model

    description = inspect_model(arguments.file, arguments.runtime)
    if arguments.json is not None:
        write_json(arguments.json, description)
    if str(arguments.json) != STANDARD:
        print(format_description(description))
    return 0


def format_description(description: dict[str, Any]) -> str:
    """The description of `edge_se.inspection.inspect_model` as text for people."""
    manifest = description["manifest"]
    signal = manifest["signal"]
    facts = [
        ("file", f"{description['file']}, {description['size_kb']} kB"),
        ("model", f"{manifest['architecture']}, {manifest['precision']}"),
        ("options", _words(manifest["checkpoint"].get("options"))),
        ("checkpoint", _words(manifest["checkpoint"])),
        (
            "signal",
            f"{signal['sample_rate']} Hz, {_window(signal)}, hop {signal['hop']}, "
            f"{manifest['stft']} STFT ({description['stft_core']} here), "
            f"features {signal['features']}{_bands(manifest)}, mask {signal['mask']}",
        ),
        ("levels", _levels(signal)),
        ("runs in", "; ".join(f"{name} {how}" for name, how in description["engines"].items())),
        ("windows", _windows(manifest)),
        ("latency", _latency(description)),
        ("calibration", _words(manifest["calibration"])),
        ("quality", _words(manifest["quality"])),
        ("made with", _words(manifest["tools"])),
    ]
    if "xnnpack_share" in description:
        facts.append(("XNNPACK", f"takes {100 * description['xnnpack_share']:.0f} % of operators"))
    lines = [f"{name:<12} {value}" for name, value in facts if value]
    if "runtimes" in description:
        lines += ["", *aligned([("runtime", "runs it"), *description["runtimes"].items()])]
    if ENGINES["c"] == Path(description["file"]).suffix:  # neither tensors nor operators to list
        return _shown(lines)
    tensors = [
        (name, spec["shape"], spec["dtype"], spec["scale"], spec["zero_point"], "")
        for name, spec in manifest["tensors"].items()
    ] + [
        (s["name"], s["shape"], s["dtype"], s["scale"], s["zero_point"], f"{s['reset_value']:g}")
        for s in manifest["states"]
    ]
    tensor_rows = [
        (name, "x".join(map(str, shape)), dtype)
        + ((f"{scale:.6g}", str(zero_point)) if scale else ("", ""))
        + (reset,)
        for name, shape, dtype, scale, zero_point, reset in tensors
    ]
    operators = description["operators"]
    operator_rows = [(o["operator"], o["precision"], str(o["count"])) for o in operators]
    total = sum(operator["count"] for operator in operators)
    count = len(manifest["states"])
    listed = [
        "",
        f"{total} operators",
        *aligned([("operator", "precision", "count"), *operator_rows]),
    ]
    return _shown(
        [
            *lines,
            "",
            f"2 signals and {count} states ({description['state_bytes'] / 1000:.1f} kB)",
            *aligned([("name", "shape", "dtype", "scale", "zero point", "reset"), *tensor_rows]),
            *(listed if operators else ()),
        ]
    )


def _shown(lines: Iterable[str]) -> str:
    """Lines for a terminal, whatever others' files say in them."""
    return "\n".join(map(printable, lines))


def _bands(manifest: dict[str, Any]) -> str:
    bands = manifest["bands"]
    if bands is None:
        return ""
    count = BandMerging(**bands).count
    return f" of {count} bands, in two parts (up to {bands['bound']:g}, and beyond)"


def _window(signal: dict[str, Any]) -> str:
    points = "" if signal.get("n_fft") is None else f" in {signal['n_fft']} points"
    return f"window {signal['window']}{points} ({signal['window_function'].replace('_', ' ')})"


def _levels(signal: dict[str, Any]) -> str:
    """What input the network hears as it is; nothing where that is all."""
    if signal["level_dbfs"] is None:
        return ""
    target, front_end = signal["level_dbfs"], signal["front_end"]
    loudest = f"{target + DB_PER_OCTAVE * TOO_LOUD / ONE:.0f} dBFS"
    heard = f"attenuated beyond {loudest}"
    if largest_exponent(front_end, signal["features"]) > 0:
        heard = f"as it is from {target - DB_PER_OCTAVE * TOO_SOFT / ONE:.0f} to {loudest}"
    return heard if front_end == "attenuate" else f"{heard}, knocks and DC held off"


def _windows(manifest: dict[str, Any]) -> str:
    """What a separator takes at once; nothing for a model that runs frame by frame."""
    chunk = manifest["chunk"]
    if chunk is None:
        return ""
    seconds = chunk["frames"] * _hop_seconds(manifest)
    return (
        f"of {chunk['frames']} frames ({seconds:.1f} s), cropped by {chunk['offset']} at each end"
    )


def _latency(description: dict[str, Any]) -> str:
    if description["latency_ms"] is None:
        return ""
    return (
        f"{description['latency_ms']:g} ms algorithmic{_lookahead(description['manifest'])}; "
        f"output lags input by {description['latency_samples']} samples"
    )


def _lookahead(manifest: dict[str, Any]) -> str:
    """The share of the latency that is the network's look-ahead, if it has one."""
    frames = manifest["lookahead_frames"]
    milliseconds = 1000 * frames * _hop_seconds(manifest)
    return f", {milliseconds:g} ms of it look-ahead of {frames} frames" if frames else ""


def _hop_seconds(manifest: dict[str, Any]) -> float:
    return Signal(**manifest["signal"]).hop_seconds


def _words(content: Any) -> str:
    """The short values of a mapping in one line; long and nested ones are left to the JSON."""
    short = {
        name: value
        for name, value in (content.items() if isinstance(content, dict) else ())
        if isinstance(value, int | float | str) and len(str(value)) <= 64
    }
    return ", ".join(f"{name} {value}" for name, value in short.items())
