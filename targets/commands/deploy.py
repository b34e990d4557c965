"""Deploy a model to a board over ssh: bundle, install, test, measure, and only then switch to it.

Uses the system's ssh with your configuration, keys and known hosts. Whatever fails, the release in
use before stays in use; after a lost connection, the same command goes on where it stopped.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_se.options import input_path, model_path, output_file, positive_float, word

if TYPE_CHECKING:
    from targets.bundle import Bundle
    from targets.deployment import Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("host", type=word, metavar="USER@HOST", help="the board, as ssh takes it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--model",
        type=model_path,
        metavar="FILE",
        help="a .tflite, a .so of edge-se compile, or a built-in model's name (default: ul_unas)",
    )
    what.add_argument("--bundle", type=input_path, metavar="FILE", help="made by edge-se bundle")
    what.add_argument(
        "--rollback", action="store_true", help="go back to the release in use before"
    )
    what.add_argument("--list", action="store_true", help="list the releases on the board")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, say what would happen, and stop"
    )
    parser.add_argument(
        "--max-rtf",
        type=positive_float(),
        default=0.5,
        metavar="X",
        help="refuse a release with a real-time factor above X there (default: %(default)s)",
    )
    parser.add_argument(
        "--service", action="store_true", help="start the live stream there, now and at each boot"
    )
    parser.add_argument(
        "--root",
        type=word,
        default="~/edge-se",
        help="folder on the board (default: %(default)s)",
    )
    parser.add_argument(
        "--python",
        type=word,
        default="python3",
        help="Python on the board (default: %(default)s)",
    )
    parser.add_argument(
        "--ssh-config",
        type=input_path,
        metavar="FILE",
        help="configuration for ssh (default: yours)",
    )
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="write the report as JSON (-: standard output)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.files import STANDARD, write_json
    from targets import deployment
    from targets.bundle import read_bundle
    from targets.remote import Connection

    bundle = read_bundle(arguments.bundle) if arguments.bundle is not None else None
    connection = Connection(arguments.host, arguments.python, arguments.ssh_config)
    target = deployment.reach(connection, arguments.root)
    if arguments.rollback and not arguments.dry_run:
        state = deployment.roll_back(target)
        deployment.say(f"release {state['current']} is in use on {arguments.host} again")
        return 0
    if arguments.list or arguments.rollback:
        print(format_releases(target.facts))
        return 0
    planned = deployment.plan(target, bundle or _bundle(target, arguments.model))
    if arguments.dry_run:
        print(planned.describe())
        return 0
    if planned.in_use:
        deployment.say(planned.describe())
    report = deployment.deploy(planned, arguments.max_rtf, arguments.service, deployment.say)
    if arguments.json is not None:
        write_json(arguments.json, report)
    if str(arguments.json) != STANDARD:
        print(format_report(report))
    return 0


def _bundle(target: "Target", model: Path | None) -> "Bundle":
    from edge_se.model_file import default_model_path
    from targets.bundle import build_bundle

    return build_bundle(target.board, target.python, model or default_model_path())


def format_releases(facts: dict[str, Any]) -> str:
    """A table of the releases on a board."""
    if not facts["releases"]:
        return f"no releases in {facts['root']}"
    lines = [f"  {'RELEASE':<12}  {'INSTALLED':<20}  {'RTF':<8}  MODEL"]
    for release in facts["releases"]:
        mark = "*" if release["id"] == facts["current"] else " "
        told = (
            f"{release['installed']:<20}  {release['rtf']:<8.5f}  {release['model']}"
            if release["damage"] is None
            else f"damaged: {release['damage']}"
        )
        lines.append(f"{mark} {release['id']:<12}  {told}")
    return "\n".join([*lines, "* in use"])


def format_report(report: dict[str, Any]) -> str:
    """The report for people; what the board does not tell is left out."""
    release, measured = report["release"], report["benchmark"]
    machine, frame, model = measured["machine"], measured["frame_us"], measured["model"]
    throttled = report["throttling"]
    rows = [
        ("host", f"{report['host']} ({report['board']}), {machine['cpu']}"),
        ("release", f"{release['id']} in {report['root']}, installed {release['installed']}"),
        ("model", f"{release['model']} ({model['architecture']}, {model['precision']})"),
        ("runtime", f"{model['runtime']} {model['runtime_version']}, Python {machine['python']}"),
        ("STFT", model["stft"]),
        ("real-time factor", f"{measured['rtf']:.5f}"),
        ("time per frame", f"p50 {frame['p50']}, p95 {frame['p95']}, p99 {frame['p99']} µs"),
        ("deadline misses", f"{measured['deadline_misses']} of {measured['frames']}"),
        ("peak memory", f"{measured['peak_rss_mb']} MB"),
        ("governor", machine["governor"]),
        ("clock", machine["clock_mhz"] and f"{machine['clock_mhz']:.0f} MHz"),
        ("temperature", machine["temperature_c"] and f"{machine['temperature_c']:.1f} °C"),
        ("throttling", throttled and (", ".join(throttled["set"]) or "none")),
    ]
    return "\n".join(f"{name:<18} {value}" for name, value in rows if value)
