"""Tables of what the front end is worth, from the JSON files of `edge-se evaluate --stress`.

`python -m benchmarks.front_end "DNS3=with.json,without.json" ...` writes them into a file of
`benchmarks/results/`: a network's name, and what was measured of its file with the front end and,
where there is one, without it. Rows of other networks and footnotes that stand there stay.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import put, rows_of
from edge_se.errors import run_script
from quant.evaluation.stress import LATE_S, Recovery

FILE = Path(__file__).resolve().parent / "results" / "12_front_end.json"
CONDITIONS = (
    *(f"{level} dBFS" for level in (-65, -60, -50, -45, -35, -25, -15, -10, 0)),
    *("DC of 0.05", "DC of 0.05, soft speech", "DC of 0.3", "DC of 0.5"),
)
COMMAND = [
    "edge-se quantize CHECKPOINT --precision float [--keep-level] --out FILE",
    "edge-se evaluate --model FILE --noisy NOISY --clean CLEAN --summary --stress --json JSON",
    'python -m benchmarks.front_end "NAME=WITH_JSON,WITHOUT_JSON" ...',
]
MEASURED = (
    "Float files in C, built-in files as they run by default, on the public evaluation set, with "
    "the front end and without it (`--keep-level`). Levels, DC and knocks: 6 clips, as `--stress` "
    "takes them, in 16 bits; usual recordings: all 24."
)

Found = Mapping[str, Any]


def section(networks: Mapping[str, Sequence[Found]]) -> dict[str, Any]:
    """Content of a file of results, of what was found with the front end, or without and with it.

    Args:
        networks: By name, what `evaluate --stress --json` wrote: of one file, or of the one
            without the front end and the one with it.
    """
    rows = [
        (name if found is runs[0] else "", "with" if found is runs[-1] else "without", found)
        for name, runs in networks.items()
        for found in runs
    ]
    stressed = [(name, kind, found["stress"]["enhanced"]) for name, kind, found in rows]
    knocks = [each["knock"] for each in stressed[0][2]["recoveries"]]
    late = (
        f"In brackets how many windows of 50 ms, of those from {1000 * LATE_S:.0f} ms on, are "
        "farther."
    )
    return {
        "title": "The front end",
        "command": COMMAND,
        "measured": MEASURED,
        "tables": [
            _table(
                "The front end: SI-SNR in dB over levels and DC",
                CONDITIONS,
                [[name, kind, *_levels(found)] for name, kind, found in stressed],
            ),
            _table(
                "The front end: milliseconds after a knock until within 3 dB of no knock, for good",
                knocks,
                [[name, kind, *_recoveries(found)] for name, kind, found in stressed],
            )
            | {"measured": late},
            _table(
                "The front end on usual recordings",
                ("PESQ-WB", "SI-SNR dB"),
                [[name, kind, *_usual(found)] for name, kind, found in rows],
            ),
        ],
    }


def with_known_rows(path: Path, new: dict[str, Any]) -> dict[str, Any]:
    """A table with the rows of other networks that a file of results has in that of its title."""
    groups = _by_network(rows_of(path, new["title"])) | _by_network(new["rows"])
    return new | {"rows": [row for group in groups.values() for row in group]}


def _by_network(rows: Sequence[list[str]]) -> dict[str, list[list[str]]]:
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        groups.setdefault(row[0] or list(groups)[-1], []).append(row)
    return groups


def _table(title: str, columns: Sequence[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": title, "columns": ["network", "front end", *columns], "rows": rows}


def _levels(stress: Found) -> list[str]:
    enhanced = {each["name"]: each["enhanced_db"] for each in stress["conditions"]}
    return [f"{enhanced[name]:.1f}" for name in CONDITIONS]


def _recoveries(stress: Found) -> list[str]:
    return [_recovery(Recovery(**each)) for each in stress["recoveries"]]


def _recovery(found: Recovery) -> str:
    time = "never" if found.ms is None else f"{found.ms:,.0f}"
    return f"{time} ({found.late_windows})" if found.late_windows else time


def _usual(found: Found) -> list[str]:
    means = found["overall"]["means"]["enhanced"]
    return [f"{means['pesq']:.3f}", f"{means['si_snr_db']:.2f}"]


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="NAME=WITH[,WITHOUT]")
    parser.add_argument("--json", type=Path, default=FILE, help="where the tables go")
    arguments = parser.parse_args()
    networks = {}
    for network in arguments.networks:
        name, _, paths = network.partition("=")
        # Without comes first, as it was before.
        files = [Path(path) for path in reversed(paths.split(","))]
        networks[name] = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    content = section(networks)
    tables = [with_known_rows(arguments.json, table) for table in content.pop("tables")]
    put(arguments.json, *tables, **content)


if __name__ == "__main__":
    run_script(main)
