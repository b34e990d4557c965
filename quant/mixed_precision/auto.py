"""The choice of a recipe: the cheapest INT8 candidate on a board whose output is near enough.

Candidates are static INT8, the network's own recipes (for GTCRN static INT8 with both ends or the
whole encoder and decoder left float), and dynamic INT8; then, if no static one will do, the nearest
to float of them again with its weights recovered. What they cost comes from checked-in tables of
instructions (`costs.py`), in C or in LiteRT, as each will run, so that the choice does not depend
on the machine that makes it; what they lose is measured by their files, on mixtures that neither
calibration nor recovery heard. Float is no candidate, but its cost is always found beside theirs.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from edge_se.text_table import aligned
from quant.audio.clips import CalibrationClips, enough_to_hold_out, hold_out
from quant.c.engines import float_engine, int8_engine, with_weights
from quant.evaluation.judge import FileJudge, JudgedClips, Quality, format_change
from quant.graph.graph import Range
from quant.graph.recipes import RECIPES, Recipe
from quant.mixed_precision.costs import Board, Cost, predict
from quant.networks.checkpoint import Checkpoint
from quant.networks.network import Network
from quant.ptq.pipeline import (
    CALIBRATION_SEED,
    CalibratedGraph,
    Progress,
    build,
    build_float,
    calibrate_checkpoint,
    corrected,
    find_ranges,
)
from quant.training.recovery import Recovered, Recovery, one_thread

# So long, as rounding adds up in the states for seconds: 3 s show a third of it, or nothing.
JUDGED_CLIPS, JUDGED_SECONDS = 32, 10.0
# Of recovery: with them, calibration and judgement stay under five minutes of one core.
RECOVERY_STEPS = 60
# What else may be lost beside a PESQ-WB of the budget, for each of its units.
BESIDE_PESQ = {"stoi": 0.25, "si_snr_db": 25.0}
# Recovery leaves a third to a half of a loss: more than so many limits stays too much.
RECOVERABLE = 3.0
# DNS3's and the built-in checkpoint on 48 mixtures of training speakers: int8 lost 0.065 PESQ at
# 18.6 dB, int8_float_ends 0.019 at 24.4; between and beyond, the loss is taken as exponential.
_ANCHOR_DB, _ANCHOR_LOSS, _DB_PER_FACTOR_E = 18.6, 0.065, 4.7


@dataclass(frozen=True)
class Candidate:
    """A recipe made ready, what it costs and what it loses.

    Attributes:
        recipe: the recipe.
        calibrated: the network, calibrated for it.
        ranges: of its values.
        quality: measured on the judged clips.
        cost: predicted on the board.
        size: of the file in bytes.
        recovered: what recovery did, where the weights are its.
    """

    recipe: Recipe
    calibrated: CalibratedGraph
    ranges: dict[str, Range]
    quality: Quality
    cost: Cost
    size: int
    recovered: Recovered | None = None

    @property
    def name(self) -> str:
        """Of the recipe, and what was done to the weights."""
        return f"{self.recipe.name}, recovered" if self.recovered else self.recipe.name

    def beats(self, other: "Candidate") -> bool:
        """Whether it is nearer to float and no slower."""
        return (
            self.cost.instructions <= other.cost.instructions
            and self.quality.compressed_snr_db > other.quality.compressed_snr_db
        )


@dataclass(frozen=True)
class Decision:
    """What `choose_recipe` chose and why.

    Attributes:
        chosen: one of the candidates.
        candidates: all that were tried.
        board: the costs are of.
        budget: PESQ-WB that may be lost.
        float_cost: of the float file on the board.
        float_size: of the float file in bytes.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    board: Board
    budget: float
    float_cost: Cost
    float_size: int

    @property
    def float_is_faster(self) -> bool:
        """Whether the float file takes fewer instructions than the chosen one."""
        return self.float_cost.instructions < self.chosen.cost.instructions

    def verdict(self, candidate: Candidate) -> str:
        """Why a candidate was taken or left."""
        within = within_budget(candidate.quality, self.budget)
        if candidate is self.chosen:
            return (
                "chosen: the cheapest within the budget"
                if within
                else ("chosen: none is within the budget, this is the nearest to float")
            )
        winner = next((other for other in self.candidates if other.beats(candidate)), None)
        if winner is not None:
            slower = winner.cost.instructions < candidate.cost.instructions
            return f"{'slower and ' if slower else ''}worse than {winner.name}"
        if candidate.size > self.float_size:
            return "larger than float"
        return "dearer than the chosen one" if within else "over the budget"

    def to_dict(self) -> dict[str, Any]:
        """For a manifest and for reports."""
        return {
            "board": self.board.key,
            "core": self.board.core,
            "quality_budget": self.budget,
            "judged_by": criterion(self.chosen.quality, self.budget),
            "chosen": self.chosen.name,
            "float": {
                "instructions": round(self.float_cost.instructions),
                "engine": self.float_cost.engine,
                "bytes": self.float_size,
                "faster_than_chosen": self.float_is_faster,
            },
            "candidates": [
                {
                    "name": candidate.name,
                    "recipe": candidate.recipe.describe(),
                    "instructions": round(candidate.cost.instructions),
                    "engine": candidate.cost.engine,
                    "estimated_operators": candidate.cost.estimated,
                    "bytes": candidate.size,
                    "verdict": self.verdict(candidate),
                    **_rounded(candidate.quality.to_dict()),
                }
                for candidate in self.candidates
            ],
        }


def needed_snr_db(quality_budget: float) -> float:
    """Compressed-spectrum SNR in dB at which about `quality_budget` PESQ-WB is lost."""
    return _ANCHOR_DB + _DB_PER_FACTOR_E * math.log(_ANCHOR_LOSS / quality_budget)


def limits(budget: float) -> dict[str, float]:
    """What may be lost by metric under a budget in PESQ-WB."""
    factors = {"pesq": 1.0, **BESIDE_PESQ}
    return {name: factor * budget for name, factor in factors.items()}


def within_budget(quality: Quality, budget: float) -> bool:
    """Whether a quality is near enough to float.

    Where clean speech is known, each mean loss must stay within its limit by the mean's standard
    error. Else the SNR must be worth the budget.
    """
    if not quality.losses:
        return quality.compressed_snr_db >= needed_snr_db(budget)
    losses = quality.losses
    return all(
        losses[name].mean + losses[name].error <= most for name, most in limits(budget).items()
    )


def criterion(quality: Quality, budget: float) -> str:
    """What `within_budget` asks for, in words."""
    if not quality.losses:
        needed = needed_snr_db(budget)
        return f"compressed-spectrum SNR to float of at least {needed:.1f} dB (no clean speech)"
    parts = [f"{name} {limit:g}" for name, limit in limits(budget).items()]
    return f"mean loss and its standard error, together at most {', '.join(parts)}"


def split_clips(
    clips: CalibrationClips, count: int = JUDGED_CLIPS, seconds: float = JUDGED_SECONDS
) -> tuple[CalibrationClips, JudgedClips]:
    """Clips to calibrate and to recover with, and others to judge by.

    Those are every fifth noisy clip, or new mixtures of the voices and noises that recovery holds
    out (of all, where there are too few to hold some out).
    """
    if clips.noisy:
        kept = tuple(clip for index, clip in enumerate(clips.noisy) if index % 5)
        judged = CalibrationClips(noisy=clips.noisy[::5])
        return CalibrationClips(noisy=kept), JudgedClips.of(judged, 0, count, seconds)
    judged = hold_out(clips)[1] if enough_to_hold_out(clips) else clips
    return clips, JudgedClips.of(judged, CALIBRATION_SEED + 1, count, seconds)


def choose_recipe(
    checkpoint: Checkpoint,
    calibration: Sequence[np.ndarray],
    judged: JudgedClips,
    quality_budget: float,
    board: Board,
    progress: Progress = lambda stage, done, total: None,
    recovery: Recovery | None = None,
) -> Decision:
    """Try all candidates and choose the cheapest within the budget.

    If none is within it, the nearest to float is chosen. What is worse than another candidate and
    no faster, or larger than float, is not. Where no static candidate is chosen, the nearest one to
    float is tried once more with its weights recovered, if it would be cheaper.

    Args:
        checkpoint: the network.
        calibration: noisy clips to calibrate with, float32 [n] each.
        judged: other clips, to judge by.
        quality_budget: PESQ-WB that may be lost.
        board: that the file is for.
        progress: told how far each stage is.
        recovery: recovers weights; None leaves them as they are.
    """
    plain = build_float(checkpoint)
    plain = with_weights(plain, partial(float_engine, checkpoint, RECIPES["float"]))
    with torch.no_grad():
        judge, candidates = _Trials(checkpoint, calibration, board).of_all(
            lambda: FileJudge(judged, plain, tuple(limits(quality_budget))), progress
        )
        chosen = choose(candidates, quality_budget, len(plain))
        promising = worth_recovering(candidates, chosen, quality_budget, len(plain))
        if recovery is not None and promising is not None:
            recipe, ranges = promising.recipe, promising.ranges
            found = recovery(promising.calibrated, recipe, ranges)
            again = _try(recipe, found.calibrated, ranges, judge, board)
            candidates.append(replace(again, recovered=found))
            chosen = choose(candidates, quality_budget, len(plain))
    float_cost = predict(plain, board.core)
    return Decision(chosen, tuple(candidates), board, quality_budget, float_cost, len(plain))


def candidate_recipes(network: Network) -> list[Recipe]:
    """What is tried: static INT8, the network's own recipes, and dynamic INT8."""
    return [RECIPES["int8"], *network.recipes, RECIPES["dynamic"]]


# What recipes share a calibrated step by.
_Step = tuple[bool, float | None]


def _step_of(recipe: Recipe) -> _Step:
    return recipe.splits, recipe.level_dbfs


@dataclass(frozen=True)
class _Trials:
    """What it takes to try recipes, in this process and in another beside it."""

    checkpoint: Checkpoint
    calibration: Sequence[np.ndarray]
    board: Board

    def of_all(
        self, judging: Callable[[], FileJudge], progress: Progress
    ) -> tuple[FileJudge, list[Candidate]]:
        """Try all recipes, half of the work in a second process if there are cores.

        Operators are small: a second core is of use to a second process, hardly to a second thread.
        """
        recipes = candidate_recipes(self.checkpoint.network)
        # Recipes with ranges come last, so that a step is calibrated for them where it has any.
        ordered = sorted(recipes, key=lambda recipe: recipe.needs_ranges)
        steps = {_step_of(recipe): recipe for recipe in ordered}
        split = _step_of(RECIPES["int8"])
        if torch.get_num_threads() == 1:
            judge = judging()
            calibrated = {step: self._calibrate(one, progress) for step, one in steps.items()}
            return judge, self._tried(recipes, calibrated, judge, progress)
        with (
            one_thread(),
            ProcessPoolExecutor(
                1, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
            ) as beside,
        ):
            calibrating = beside.submit(self._calibrate, steps[split])
            judge = judging()
            calibrated = {
                step: self._calibrate(one, progress) for step, one in steps.items() if step != split
            }
            calibrated[split] = calibrating.result()
            trying = {}
            for recipe in recipes[:1] + recipes[-1:]:
                step = calibrated[_step_of(recipe)]
                ranges = find_ranges(step, recipe)
                there = _copied(step)
                trying[recipe] = beside.submit(_try, recipe, there, ranges, judge, self.board)
            here = [recipe for recipe in recipes if recipe not in trying]
            found = self._tried(here, calibrated, judge, progress)
            found += [
                replace(tried.result(), calibrated=calibrated[_step_of(recipe)])
                for recipe, tried in trying.items()
            ]
        return judge, sorted(found, key=lambda candidate: recipes.index(candidate.recipe))

    def _calibrate(
        self, recipe: Recipe, progress: Progress = lambda stage, done, total: None
    ) -> CalibratedGraph:
        return calibrate_checkpoint(self.checkpoint, self.calibration, recipe, progress)

    def _tried(
        self,
        recipes: Sequence[Recipe],
        steps: Mapping[_Step, CalibratedGraph],
        judge: FileJudge,
        progress: Progress,
    ) -> list[Candidate]:
        candidates = []
        for done, recipe in enumerate(recipes, 1):
            step = steps[_step_of(recipe)]
            candidates.append(_try(recipe, step, find_ranges(step, recipe), judge, self.board))
            progress("candidates", done, len(recipes))
        return candidates


def _copied(calibrated: CalibratedGraph) -> CalibratedGraph:
    """A copy to send away, as biases are corrected in place while a recipe is tried.

    It lacks what only ranges are found by: hundreds of megabytes.
    """
    statistics = replace(calibrated.statistics, samples={}, saturated={})
    return copy.deepcopy(replace(calibrated, statistics=statistics))


def choose(candidates: Sequence[Candidate], budget: float, float_size: int) -> Candidate:
    """The cheapest within the budget, else the nearest to float, of those worth having."""
    allowed = _worth_having(candidates, float_size)
    near = [c for c in allowed if within_budget(c.quality, budget)]
    if near:
        return min(near, key=lambda c: c.cost.instructions)
    return max(allowed, key=lambda c: c.quality.compressed_snr_db)


def _worth_having(candidates: Sequence[Candidate], float_size: int) -> list[Candidate]:
    """Candidates that no other one beats and that are, if any is, no larger than float."""
    small = [c for c in candidates if c.size <= float_size] or candidates
    return [c for c in small if not any(other.beats(c) for other in small)]


def worth_recovering(
    candidates: Sequence[Candidate], chosen: Candidate, budget: float, float_size: int
) -> Candidate | None:
    """The nearest static candidate to float, if recovered weights could make it the choice.

    Recovery learns from clips like those that it is judged by, so its judgement is the less strict
    one: it is for where no static candidate will do as it is.
    """
    dearest = math.inf
    if within_budget(chosen.quality, budget):
        if chosen.recipe.is_static:
            return None
        dearest = chosen.cost.instructions
    promising = [
        candidate
        for candidate in _worth_having(candidates, float_size)
        if candidate.recipe.is_static
        and within_budget(candidate.quality, RECOVERABLE * budget)
        and candidate.cost.instructions <= dearest
    ]
    return max(promising, key=lambda c: c.quality.compressed_snr_db, default=None)


def format_decision(decision: Decision) -> str:
    """What was tried and why it was taken or left, for people."""
    rows = [["candidate", "instructions", "KB", "dB to float", *limits(decision.budget), ""]]
    for candidate in decision.candidates:
        losses = candidate.quality.losses
        rows.append(
            [
                candidate.name,
                f"{candidate.cost.instructions / 1000:.0f} K",
                f"{candidate.size / 1000:.0f}",
                f"{candidate.quality.compressed_snr_db:.1f}",
                *(
                    format_change(losses[name].mean, losses[name].error) if losses else "-"
                    for name in rows[0][4:-1]
                ),
                decision.verdict(candidate),
            ]
        )
    cost, size = decision.float_cost.instructions, decision.float_size
    rows.append(["float", f"{cost / 1000:.0f} K", f"{size / 1000:.0f}", "", "", "", "", ""])
    lines = aligned(rows, right=range(1, len(rows[0]) - 1))
    ratio = decision.chosen.cost.instructions / cost
    speed = (
        f"Float would be faster on {decision.board.name}: {decision.chosen.name} takes "
        f"{ratio - 1:.0%} more instructions."
        if decision.float_is_faster
        else f"On {decision.board.name} {decision.chosen.name} takes {1 - ratio:.0%} fewer "
        "instructions than float."
    )
    return "\n".join([f"for {decision.board.name}, instructions per frame:", *lines, speed])


@torch.no_grad()
def _try(
    recipe: Recipe,
    calibrated: CalibratedGraph,
    ranges: dict[str, Range],
    judge: FileJudge,
    board: Board,
) -> Candidate:
    with corrected(calibrated, recipe, ranges):
        content = build(calibrated, recipe, ranges, {})
        if recipe.is_int8:
            content = with_weights(content, partial(int8_engine, content))
    quality, cost = judge.measure(content), predict(content, board.core)
    return Candidate(recipe, calibrated, ranges, quality, cost, len(content))


def _rounded(content: Any) -> Any:
    """Figures that a last bit's difference between machines does not change."""
    if isinstance(content, dict):
        return {name: _rounded(entry) for name, entry in content.items()}
    return round(content, 3) if isinstance(content, float) else content
