"""The report as one HTML page that needs nothing else, and its JSON beside it."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edge_se.files import make_folder, write_json, write_whole
from quant.evaluation.evaluate import Summary
from quant.evaluation.judge import format_change
from quant.evaluation.metrics import METRICS
from quant.evaluation.report import stress_tables
from quant.evaluation.sensitivity import ALL, draw_sensitivity
from quant.graph.graph import Range
from quant.report import plots
from quant.report.collect import Figures

PAGE, DATA = "report.html", "report.json"
CLIPPING_SHOWN = 12
SYSTEMS = {"noisy": "noisy", "reference": "float", "enhanced": "quantized"}
GRADE_WORDS = {
    "good": "as good as float",
    "fair": "a little worse than float",
    "poor": "poor",
}

_STYLE = """
:root { --ink: #212529; --soft: #6c757d; --line: #e9ecef; --good: #2b8a3e; --fair: #e67700;
  --poor: #c92a2a; }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: var(--ink); background: #f8f9fa; margin: 0; }
main { max-width: 980px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 10px; }
.lead { color: var(--soft); margin: 0 0 20px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; margin: 16px 0;
  padding: 18px 22px; }
.verdict { border-left: 6px solid var(--line); }
.verdict.good { border-left-color: var(--good); }
.verdict.fair { border-left-color: var(--fair); }
.verdict.poor { border-left-color: var(--poor); }
.verdict ul { margin: 6px 0 0; padding-left: 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 22px; font-weight: 600; }
.card span { color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
table + table { margin-top: 16px; }
details summary { color: var(--soft); cursor: pointer; margin-top: 10px; }
td { white-space: nowrap; }
td:first-child { white-space: normal; overflow-wrap: anywhere; }
td.text { text-align: left; white-space: normal; }
tr.chosen td { background: #ebfbee; font-weight: 600; }
img { max-width: 100%; display: block; margin: 10px 0 0; }
.note { color: var(--soft); font-size: 13px; margin: 10px 0 0; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 24px; }
@media (max-width: 700px) { .columns { grid-template-columns: 1fr; } }
"""


def write_report(folder: Path, figures: Figures) -> None:
    """Write `report.html` and `report.json` into a folder, which is made if it is missing.

    Raises:
        UserError: the folder can't be made or written to.
    """
    make_folder(folder)
    write_json(folder / DATA, figures.to_dict())
    write_whole(folder / PAGE, render(figures))


def render(figures: Figures) -> str:
    """The page's HTML."""
    model = figures.facts["model"]
    title = f"{model['architecture']}, {model['recipe']['name']}"
    sections = [
        _verdict(figures),
        _cards(figures),
        _quality(figures),
        _spectrograms(figures),
        _decision(figures),
        _sensitivity(figures),
        _robustness(figures),
        _stress(figures),
        _costs(figures),
        _inside(figures),
        _made_from(figures),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="lead">What quantizing {escape(model["checkpoint"])} cost, and what it '
        "brought.</p>\n" + "\n".join(filter(None, sections)) + "\n</main>\n</body>\n</html>\n"
    )


# Parts ------------------------------------------------------------------------------------------


def _section(title: str, *content: str, note: str = "") -> str:
    parts = [f"<h2>{escape(title)}</h2>", *content]
    if note:
        parts.append(f'<p class="note">{escape(note)}</p>')
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]], chosen: int = -1) -> str:
    """Rows of text; a last column of words is aligned left."""
    lines = ["<table>", "<tr>" + "".join(f"<th>{escape(str(c))}</th>" for c in header) + "</tr>"]
    for index, row in enumerate(rows):
        mark = ' class="chosen"' if index == chosen else ""
        cells = "".join(f"<td{_align(cell)}>{escape(str(cell))}</td>" for cell in row)
        lines.append(f"<tr{mark}>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _align(cell: Any) -> str:
    words = isinstance(cell, str) and " " in cell and cell[:1].isalpha()
    return ' class="text"' if words else ""


def _image(png: bytes, description: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'


def _verdict(figures: Figures) -> str:
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in figures.remarks)
    return (
        f'<section class="verdict {figures.grade}">\n'
        f"<h2>The result is {escape(GRADE_WORDS[figures.grade])}</h2>\n<ul>{remarks}</ul>\n"
        "</section>"
    )


def _cards(figures: Figures) -> str:
    model, here = figures.facts["model"], figures.facts["time_here"]
    key = figures.facts["board"]
    board = next(entry for entry in figures.facts["boards"] if entry["board"] == key)
    counts = board["instructions"]
    cards = [
        (f"{model['bytes'] / 1000:.0f} KB", f"float {model['float_bytes'] / 1000:.0f} KB"),
        (
            f"{counts['quantized'] / 1e6:.2f} M",
            f"instructions per frame on {board['name']}; float {counts['float'] / 1e6:.2f} M",
        ),
        (
            f"{here['quantized']['p50_us']:.0f} µs",
            f"per frame of {model['hop_ms']:g} ms on this machine; "
            f"float {here['float']['p50_us']:.0f} µs",
        ),
    ]
    if figures.quality is not None:
        difference = figures.quality.differences["pesq"]
        means = figures.quality.overall.means
        cards.insert(
            0,
            (
                f"{difference.mean:+.3f}",
                "PESQ-WB against float; "
                + ", ".join(f"{means[s]['pesq']:.2f} {label}" for s, label in SYSTEMS.items()),
            ),
        )
    else:
        snr_db = figures.to_float.output_snr_db
        cards.insert(0, (f"{snr_db:.1f} dB", "SNR of the output to float's"))
    inner = "".join(
        f'<div class="card"><b>{escape(figure)}</b><span>{escape(text)}</span></div>'
        for figure, text in cards
    )
    return f'<div class="cards">{inner}</div>'


def _quality(figures: Figures) -> str:
    if figures.quality is None:
        ratios = [
            ("output", f"{figures.to_float.output_snr_db:.1f}"),
            ("output, compressed", f"{figures.to_float.compressed_snr_db:.1f}"),
        ]
        return _section("Quality", _table(("SNR to float", "dB"), ratios))
    buckets, overall = figures.quality.buckets, figures.quality.overall
    picture = _image(plots.quality(buckets, figures.levels), "PESQ by SNR and by level")
    columns = [
        f"{METRICS[name].heading.removesuffix(' dB')} {label}"
        for name in overall.counts
        for label in SYSTEMS.values()
    ]
    rows = [_scores(summary) for summary in (*buckets, *figures.levels, overall)]
    return _section(
        "Quality before and after, by SNR and by level",
        picture,
        _table(("input", "clips", *columns, "dB to float"), rows),
        note="Mixtures of the calibration clips that calibration did not hear, through the frame "
        "loop. Means over clips; PESQ-WB 1.0 to 4.6, STOI up to 1.",
    )


def _scores(summary: Summary) -> list[str]:
    cells = [
        f"{summary.means[system][name]:.{METRICS[name].decimals - 1}f}"
        for name in summary.counts
        for system in SYSTEMS
    ]
    ratio = summary.snr_to_reference_db
    return [summary.label, str(summary.clips), *cells, "" if ratio is None else f"{ratio:.1f}"]


def _spectrograms(figures: Figures) -> str:
    return _section(
        "What it does to a clip",
        _image(plots.spectrograms(figures.signals, figures.rate), "spectrograms"),
        note="Difference: quantized minus float, on the same scale.",
    )


def _decision(figures: Figures) -> str:
    decision = figures.facts["decision"]
    if decision is None:
        return ""
    candidates = decision["candidates"]
    names = [entry["name"] for entry in candidates]
    metrics = list(candidates[0]["losses"])
    rows = [
        [
            entry["name"],
            f"{entry['instructions'] / 1000:.0f} K",
            f"{entry['bytes'] / 1000:.0f} KB",
            f"{entry['compressed_snr_db']:.1f}",
            *(
                format_change(loss["mean"], loss["standard_error"])
                for loss in entry["losses"].values()
            ),
            entry["verdict"],
        ]
        for entry in candidates
    ]
    plain = decision["float"]
    rows.append(
        [
            "float",
            f"{plain['instructions'] / 1000:.0f} K",
            f"{plain['bytes'] / 1000:.0f} KB",
            *[""] * (len(metrics) + 1),
            "for comparison",
        ]
    )
    header = ("candidate", "per frame", "size", "dB to float")
    headings = [METRICS[metric].heading for metric in metrics]
    faster = (
        "Float would be faster on this board."
        if plain["faster_than_chosen"]
        else "The chosen one takes fewer instructions than float."
    )
    return _section(
        f"Why {decision['chosen']}, for the board {decision['board']}",
        _table((*header, *headings, ""), rows, names.index(decision["chosen"])),
        note=f"Within the budget of {decision['quality_budget']:g} PESQ-WB: "
        f"{decision['judged_by']}. Changes are means, with their standard errors in brackets. "
        f"Instructions by the table counted on an emulated {decision['core']}. {faster}",
    )


def _sensitivity(figures: Figures) -> str:
    if figures.sensitivity is None:
        return ""
    buffer = io.BytesIO()
    draw_sensitivity(figures.sensitivity, buffer)
    whole = figures.sensitivity.scopes[0].int8
    rows = [
        [
            entry.scope,
            f"{entry.int8.mask_snr_db:.1f}",
            f"{entry.int8.output_snr_db:.1f}",
            *([f"{-entry.int8.losses['pesq'].mean:+.3f}"] if entry.int8.losses else []),
            f"{entry.int16.output_snr_db:.1f}",
            ""
            if entry.scope == ALL
            else f"{entry.left_float.output_snr_db - whole.output_snr_db:+.1f}",
        ]
        for entry in figures.sensitivity.scopes
    ]
    pesq = ["PESQ"] if whole.losses else []
    header = [
        "scope alone in 8 bits",
        "mask dB",
        "output dB",
        *pesq,
        "16 bits, output dB",
        "left float, dB gained",
    ]
    return _section(
        "Sensitivity: what 8 bits cost, scope by scope",
        _image(buffer.getvalue(), "sensitivity of each scope"),
        "<details><summary>as a table</summary>",
        _table(header, rows),
        "</details>",
        note="Static quantization simulated: one scope in 8 bits (in 16), all else float; then all "
        "in 8 bits but one scope. SNR to the float network.",
    )


def _robustness(figures: Figures) -> str:
    found = figures.robustness
    rows = [
        [
            case.name,
            "-" if case.pesq_loss is None else f"{-case.pesq_loss.mean:+.3f}",
            f"{case.snr_db:.1f}",
        ]
        for case in (*found.levels, found.silence)
    ]
    return _section(
        "Levels, silence, long running",
        _image(plots.robustness(found), "loss by level, and SNR by minute"),
        _table(("condition", "PESQ-WB against float", "dB to float"), rows),
        note=f"{len(found.minutes_db)} minutes of the same minute without a reset: SNR to float "
        f"changes by {found.drift_db:+.2f} dB from the second to the last.",
    )


def _stress(figures: Figures) -> str:
    tables = stress_tables(figures.stress)
    return _section(
        "Knocks, levels, DC, hum, silence, clipping",
        _image(plots.stress(figures.stress), "level after knocks, and SI-SNR by level"),
        *(_table(rows[0], rows[1:]) for rows in tables),
        note="Speech at -25 dBFS where nothing else is said. After a knock: until the output stays "
        "within 3 dB of that of an undisturbed run, and the farthest that it is from it. Lost: "
        "SI-SNR against the same level undisturbed, of levels against -25 dBFS.",
    )


def _costs(figures: Figures) -> str:
    rows = [
        [
            entry["name"],
            f"{entry['instructions']['quantized'] / 1000:.0f} K",
            f"{entry['instructions']['float'] / 1000:.0f} K",
            "{} to {}".format(*entry["frame_us"]["quantized"]),
            "{} to {}".format(*entry["frame_us"]["float"]),
        ]
        for entry in figures.facts["boards"]
    ]
    here = figures.facts["time_here"]
    measured = [
        [name, f"{times['p5_us']:.0f}", f"{times['p50_us']:.0f}"] for name, times in here.items()
    ]
    return _section(
        "Frame time",
        _table(
            ("predicted", "instructions", "float's", "µs per frame", "float's"),
            rows,
        ),
        _table(("measured on this machine", "µs, 5th percentile", "µs, median"), measured),
        note="Instructions of the whole frame loop, by operators counted on emulated cores; times "
        "from assumed instructions per second, without throttling. A frame is "
        f"{figures.facts['model']['hop_ms']:g} ms.",
    )


def _inside(figures: Figures) -> str:
    operators = [
        [entry["operator"].lower(), entry["precision"], entry["count"]]
        for entry in figures.facts["operators"]
    ]
    saturation = figures.robustness.saturation
    states = [
        [
            state["name"],
            "x".join(map(str, state["shape"])),
            state["dtype"],
            f"{state['scale']:.3g}" if state["scale"] else "-",
            state["zero_point"] if state["scale"] else "-",
            f"{saturation[state['name']]:.2%}" if state["name"] in saturation else "-",
        ]
        for state in figures.facts["states"]
    ]
    clipped = [
        [name, _range(figures.ranges.get(name)), f"{share:.3%}"]
        for name, share in list(figures.clipping.items())[:CLIPPING_SHOWN]
    ]
    clipping = (
        _table(("tensor", "range", "values cut off"), clipped)
        if clipped
        else "<p>No tensor has a range: activations are float.</p>"
    )
    return _section(
        "Inside the file",
        '<div class="columns"><div>',
        _table(("operator", "precision", "count"), operators),
        "</div><div>",
        clipping,
        "</div></div>",
        *_left_float(figures.facts["model"]["recipe"].get("float", {})),
        "<h2>States</h2>",
        _table(("state", "shape", "type", "scale", "zero point", "at an end of the range"), states),
        note="Cut off: beyond the tensor's range, on the clips above; rare large values are given "
        "up so that all others keep their resolution. At an end: share of a state's values, while "
        "the minutes ran; a range that starts at zero has its zeros there.",
    )


def _range(bounds: Range | None) -> str:
    return "" if bounds is None else "{:.3g} to {:.3g}".format(*bounds)


def _left_float(layers: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What of a module of one's own the quantizer knows no 8-bit way for."""
    rows = [
        [layer, ", ".join(f"{count} {kind.lower()}" for kind, count in kinds.items())]
        for layer, kinds in layers.items()
    ]
    return ["<h2>Stays float</h2>", _table(("layer", "operators"), rows)] if rows else []


def _made_from(figures: Figures) -> str:
    facts = figures.facts
    calibration = {
        name: entry
        for name, entry in facts["calibration"].items()
        if isinstance(entry, int | float | str)
    }
    model = facts["model"]
    digest = (model["sha256"] or "")[:16]
    rows = [
        ("checkpoint", ", SHA-256 ".join(filter(None, (model["checkpoint"], digest)))),
        ("recipe", _recipe(model["recipe"])),
        ("algorithmic latency", f"{model['latency_ms']:g} ms"),
        *((name.replace("_", " "), entry) for name, entry in calibration.items()),
    ]
    return _section("Made from", _table(("", ""), rows))


def _recipe(recipe: dict[str, Any]) -> str:
    parts = [f"{o['precision']} where {o['pattern']}" for o in recipe["overrides"]]
    return "; ".join([f"{recipe['name']}: {recipe['default']}", *parts])
