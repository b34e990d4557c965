"""Evaluation results as tables for people."""

from collections.abc import Mapping, Sequence

from edge_se.text_table import aligned
from quant.evaluation.evaluate import EvaluationResult, Scores
from quant.evaluation.metrics import METRICS, WITH_CLEAN
from quant.evaluation.stress import AFTER_S, LATE_S, Recovery, Stress

LONGEST_NAME = 28

# Label, second column, scores by system, SNR to the reference.
_Row = tuple[str, str, dict[str, Scores], float | None]


def format_report(result: EvaluationResult, per_clip: bool = True) -> str:
    """Tables per clip (unless not wanted), per SNR bucket and overall, and what has no score."""
    clip_rows = [
        (_shortened(clip.name), f"{clip.snr_db:.0f} dB", clip.scores, clip.snr_to_reference_db)
        for clip in result.clips
    ]
    summary_rows = [
        (summary.label, str(summary.clips), summary.means, summary.snr_to_reference_db)
        for summary in (*result.buckets, result.overall)
    ]
    sections = _tables(("clip", "SNR"), clip_rows, result) if per_clip else []
    sections += _tables(("SNR", "clips"), summary_rows, result)
    if result.differences:
        sections.append(_differences(result))
    if result.failures:
        sections.append(_failures(result))
    return "\n\n".join(sections)


def format_stress(found: Mapping[str, Stress]) -> str:
    """Tables of knocks, and of levels and disturbances where clean speech is known, by system."""
    sections = [_aligned([list(row) for row in rows]) for rows in stress_tables(found)]
    return "\n\n".join(sections)


def stress_tables(found: Mapping[str, Stress]) -> list[list[tuple[str, ...]]]:
    """The rows of these tables, headings first."""
    systems, results = list(found), list(found.values())
    late = f"windows off after {1000 * LATE_S:.0f} ms"
    of_knocks = ("ms to 3 dB", late, "most dB")
    knocks = [("after a knock", *(f"{s}: {what}" for s in systems for what in of_knocks))]
    for row in zip(*(result.recoveries for result in results), strict=True):
        found_of = (
            (_recovery_ms(each), str(each.late_windows), f"{each.farthest_db:+.1f}") for each in row
        )
        knocks.append((row[0].knock, *(cell for cells in found_of for cell in cells)))
    if not results[0].conditions:
        return [knocks]
    headings = (f"{s}: {what}" for s in systems for what in ("SI-SNR", "lost dB"))
    conditions = [("condition", "noisy", *headings)]
    for of_systems in zip(*(result.conditions for result in results), strict=True):
        cells = ((f"{c.enhanced_db:.1f}", f"{c.loss.mean:+.1f}") for c in of_systems)
        first = of_systems[0]
        row_cells = (cell for pair in cells for cell in pair)
        conditions.append((first.name, f"{first.noisy_db:.1f}", *row_cells))
    return [knocks, conditions]


def _recovery_ms(recovery: Recovery) -> str:
    return f"> {1000 * AFTER_S:.0f}" if recovery.ms is None else f"{recovery.ms:.0f}"


def _tables(first: tuple[str, str], rows: Sequence[_Row], result: EvaluationResult) -> list[str]:
    """One table of the metrics that need clean speech, one of the others: narrow enough to read."""
    groups = [
        [name for name in result.overall.counts if (name in WITH_CLEAN) is with_clean]
        for with_clean in (True, False)
    ]
    systems = list(result.overall.means)
    tables: list[str] = []
    for names in filter(None, groups):
        top = [
            "",
            "",
            *(METRICS[n].heading if s == systems[0] else "" for n in names for s in systems),
        ]
        bottom = [*first, *(system for _ in names for system in systems)]
        body = [
            [label, second, *(_cell(scores[s], n) for n in names for s in systems)]
            for label, second, scores, _ in rows
        ]
        if not tables and result.overall.snr_to_reference_db is not None:
            top.append("SNR dB to")
            bottom.append("reference")
            for line, (*_, ratio) in zip(body, rows, strict=True):
                line.append("-" if ratio is None else f"{ratio:.1f}")
        tables.append(_aligned([top, bottom, *body]))
    return tables


def _aligned(lines: list[list[str]]) -> str:
    return "\n".join(aligned(lines, right=range(1, len(lines[0]))))


def _cell(scores: Scores, name: str) -> str:
    return f"{scores[name]:.{METRICS[name].decimals}f}" if name in scores else "-"


def _differences(result: EvaluationResult) -> str:
    lines = [["Enhanced minus reference", "mean", "95 % interval"]]
    for name, difference in result.differences.items():
        metric = METRICS[name]
        mean, low, high = (
            f"{value:+.{metric.decimals}f}"
            for value in (difference.mean, difference.low, difference.high)
        )
        lines.append([metric.heading, mean, f"{low} to {high}"])
    return _aligned(lines)


def _failures(result: EvaluationResult) -> str:
    total = result.overall.clips
    counted = [
        f"{METRICS[name].heading} over {count} of {total} clips"
        for name, count in result.overall.counts.items()
        if count < total
    ]
    heading = "Not scored" + (f" (means of {', '.join(counted)})" if counted else "") + ":"
    return "\n".join([heading, *(f"  {failure}" for failure in result.failures)])


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "..." + name[-LONGEST_NAME + 3 :]
