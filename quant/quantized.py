"""Quantizing a network in one call, and what comes of it: the host's Python API.

import quant

quantized = quant.quantize("model.tar", "my_clips/")
quantized.save("gtcrn_int8.tflite")
quantized.report("report/")
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib_data import clips_folder
from edge_se.engines import ENGINES
from edge_se.errors import UserError
from edge_se.files import make_folder, written_beside
from edge_se.manifest import Manifest
from edge_se.model_file import attach_manifest, manifest_of
from edge_se.strength import FULL, Strength
from quant.audio.clips import (
    CalibrationClips,
    SkippedClip,
    enough_to_hold_out,
    hold_out,
    read_calibration_clips,
)
from quant.c.engines import fixed_engine, float_engine, int8_engine, with_weights
from quant.checkpoints import default_checkpoint_path, find_checkpoint
from quant.evaluation.judge import JudgedClips
from quant.graph.graph import Range
from quant.graph.recipes import RECIPES, Recipe, find_recipe, read_recipe
from quant.mixed_precision.auto import RECOVERY_STEPS, Decision, choose_recipe, split_clips
from quant.mixed_precision.costs import DEFAULT_BOARD, Board, find_board
from quant.modules.calibration import cut_off
from quant.modules.own import OwnModule, load_own_module
from quant.modules.pipeline import lower_module, make_module
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.network import Network
from quant.ptq.pipeline import (
    CalibratedGraph,
    Progress,
    build_float,
    build_proven,
    build_proven_float,
    calibrate_checkpoint,
    find_ranges,
    noisy_clips,
    signal_for,
)
from quant.ptq.ranges import read_ranges, require_known, write_ranges
from quant.report.collect import Inside, Made, collect, look_inside
from quant.report.page import write_report
from quant.separation.pipeline import quantize_separator
from quant.training.recovery import (
    WORTH_RECOVERING,
    Recovered,
    Recovery,
    RecoverySettings,
    recover,
)

if TYPE_CHECKING:
    from torch import nn

AUTO = "auto"
QUALITY_BUDGET = 0.02
LOWEST_LEVEL_DBFS = -100
NAMED_AT_MOST = 8  # beginnings of operators' names that an error message spells out


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Options:
    """How to quantize, beside the checkpoint, the clips and the precision.

    Attributes:
        quality_budget: what "auto" may lose, in PESQ-WB.
        board: that "auto" makes the file cheap for.
        ranges: of some tensors, by name, or a file of `--save-ranges`; in place of calibrated ones.
        recovery_minutes: how long to fine-tune the weights against their rounding; None to do it
            only where it is worth it, 0 for never.
        recovery_clean_weight: of the clean speech as a target of that.
        strength: how much the file takes away where nothing else is asked of it.
    """

    quality_budget: float = QUALITY_BUDGET
    board: str = DEFAULT_BOARD
    ranges: Mapping[str, Range] | str | Path | None = None
    recovery_minutes: float | None = None
    recovery_clean_weight: float = 0.0
    strength: Strength = FULL


@dataclass(frozen=True)
class Quantized:
    """A quantized network.

    Attributes:
        content: of the model file, manifest included.
        checkpoint: the network it was made from, or the module.
        recipe: by which.
        decision: what "auto" tried and why it chose this recipe; None where it was named.
        skipped: clips that could not be used, and why.
        notes: what else whoever asked for it should know.
    """

    content: bytes
    checkpoint: Checkpoint | OwnModule
    recipe: Recipe
    decision: Decision | None = None
    skipped: tuple[SkippedClip, ...] = ()
    notes: tuple[str, ...] = ()
    _calibration: "_Calibration | None" = field(default=None, repr=False)
    _ranges: Mapping[str, Range] = field(default_factory=dict, repr=False)

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return manifest_of(self.content, "the model file")

    @property
    def ranges(self) -> dict[str, Range]:
        """Smallest and largest value of each tensor, by its name; empty where none were needed."""
        return dict(self._ranges)

    def save(self, path: str | Path) -> None:
        """Write the model file, whole or not at all.

        Raises:
            UserError: the name does not end in .tflite, or the file can't be written.
        """
        path = Path(path)
        require_model_name(path)
        with written_beside(path) as temporary:
            temporary.write_bytes(self.content)

    def save_ranges(self, path: str | Path) -> None:
        """Write the tensors' ranges as JSON, to be read and edited."""
        write_ranges(Path(path), self.ranges)

    def report(self, folder: str | Path, progress: Progress = silent) -> None:
        """Measure what was lost and write a page about it, report.html and report.json.

        Raises:
            UserError: there is nothing to compare with float, or the folder can't be made.
        """
        made = self._calibration
        if made is None:
            raise UserError(
                "a report compares a quantized enhancer with its float network; compare other "
                "files by edge-se evaluate --reference"
            )
        make_folder(Path(folder))
        content = _with_strength(self.content, FULL)
        plain = made.build_float()
        figures = collect(
            Made(
                *(made.board, content, plain, made.clips, made.look_inside),
                *(self.ranges, self.decision),
            ),
            progress,
        )
        write_report(Path(folder), figures)


@dataclass(frozen=True)
class _Calibration:
    """What a quantized enhancer was made with, and what a report needs of it."""

    clips: CalibrationClips
    board: Board
    build_float: Callable[[], bytes]
    look_inside: Callable[[JudgedClips, Progress], Inside]


def quantize(
    checkpoint: Checkpoint | str | Path | None = None,
    clips: str | Path | None = None,
    precision: str | Path | Recipe = AUTO,
    *,
    module: "str | nn.Module | OwnModule | None" = None,
    architecture: str | None = None,
    network_options: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Quantized:
    """Quantize a trained network with calibration clips.

    Args:
        checkpoint: the network, or a file with its weights; None for the embedded one.
        clips: folder with clean/ and noise/, or with noisy clips; None for the embedded ones.
        precision: name of a recipe, a recipe file (.toml), a recipe, or "auto" for the cheapest one
            on a board within a budget of quality (of a separator or a module of your own INT8).
        module: of your own, in place of a network of this project: the module itself, or
            "FILE.py:FUNCTION" that builds it; the checkpoint holds its weights, None for those it
            has. See docs/own-network.md.
        architecture: of the checkpoint, where its weights can't tell.
        network_options: of the network, those that its weights don't tell.
        progress: told the name of a stage, and how much of it is done out of how much.
        options: fields of `Options`.

    Raises:
        UserError: something given can't be used; the message says what, and what to do.
    """
    chosen = Options(**options)
    _check(chosen)
    if module is not None:
        if isinstance(checkpoint, Checkpoint) or architecture or network_options:
            raise UserError("beside a module there is no network of ours, nor options of one")
        if not isinstance(module, OwnModule):
            path = None if checkpoint is None else Path(checkpoint)
            module = load_own_module(module, path)
        made = _own_module(module, clips, precision, chosen, progress)
    else:
        made = _quantized(
            checkpoint, clips, precision, architecture, network_options, progress, chosen
        )
    return replace(made, content=_with_strength(made.content, chosen.strength))


def _quantized(
    checkpoint: Checkpoint | str | Path | None,
    clips: str | Path | None,
    precision: str | Path | Recipe,
    architecture: str | None,
    network_options: Mapping[str, Any] | None,
    progress: Progress,
    chosen: Options,
) -> Quantized:
    if not isinstance(checkpoint, Checkpoint):
        path = default_checkpoint_path() if checkpoint is None else find_checkpoint(checkpoint)
        checkpoint = load_checkpoint(path, architecture, **(network_options or {}))
    recipe = as_recipe(precision, checkpoint.network)
    if recipe is not None:
        _check_recipe(recipe, checkpoint)
    folder = clips_folder() if clips is None else Path(clips)
    if checkpoint.network.separates:
        if chosen.strength != FULL:
            raise UserError("a separator takes nothing away: its outputs add up to the input")
        if chosen.ranges is not None or chosen.recovery_minutes or chosen.recovery_clean_weight:
            raise UserError("ranges and recovery are for enhancers; a separator finds its own")
        return _separator(checkpoint, folder, recipe or RECIPES["int8"], progress)
    if recipe is not None and not recipe.needs_ranges:
        if chosen.ranges is not None:
            raise UserError("ranges are for a precision with calibrated ranges, as int8")
        if chosen.recovery_minutes:
            raise UserError("recovery is for activations in 8 or 16 bits, as int8 has them")
    if recipe is not None and recipe.is_float:
        content = build_proven_float(checkpoint, recipe)
        content = with_weights(content, partial(float_engine, checkpoint, recipe))
        return Quantized(content, checkpoint, recipe)
    return _enhancer(checkpoint, folder, recipe, chosen, progress)


def as_recipe(precision: str | Path | Recipe, network: Network | None) -> Recipe | None:
    """The recipe that is meant; None for "auto".

    Raises:
        UserError: there is no recipe of that name, or the file holds none.
    """
    if isinstance(precision, Recipe):
        return precision
    if str(precision) == AUTO:
        return None
    if Path(precision).suffix == ".toml":
        return read_recipe(Path(precision))
    return find_recipe(str(precision), () if network is None else network.recipes)


def require_model_name(path: Path) -> None:
    """Raise UserError unless a model file's name tells what it is."""
    suffix = ENGINES["tflite"]
    if path.suffix != suffix:
        raise UserError(f"{path} has to end in {suffix} to be recognised as TFLite")


def _check(options: Options) -> None:
    if not options.quality_budget > 0:
        raise UserError("the quality budget has to be above 0, as in --quality-budget 0.02")
    if options.recovery_minutes is not None and not options.recovery_minutes >= 0:
        raise UserError("recovery takes minutes, as in --recover 10")
    if not options.recovery_clean_weight >= 0:
        raise UserError("clean speech as a target takes a weight, as in --recover-clean 1")


def _given_ranges(options: Options) -> dict[str, Range]:
    given = options.ranges
    return read_ranges(Path(given)) if isinstance(given, str | Path) else dict(given or {})


def _check_recipe(recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Raise UserError where a recipe means nothing to the network."""
    _check_level(recipe)
    if not recipe.overrides or recipe in checkpoint.network.recipes:
        return
    operators = checkpoint.graph(recipe.splits).operators
    names = ["features", *(operator.scope for operator in operators)]
    override = recipe.unmatched(names)
    if override is not None:
        raise UserError(
            f"the pattern {override.pattern!r} of the recipe {recipe.name} matches no operator "
            f"of this {checkpoint.architecture}; their names begin as in {_beginnings(names)}"
        )


def _check_level(recipe: Recipe) -> None:
    level = recipe.level_dbfs
    if level is not None and not LOWEST_LEVEL_DBFS <= level <= 0:
        raise UserError(
            f"a level is in dB below full scale, from {LOWEST_LEVEL_DBFS} to 0, and not {level:g}"
        )


def _beginnings(names: Iterable[str]) -> str:
    found = dict.fromkeys(name.partition(".")[0] for name in names)
    return ", ".join(list(found)[:NAMED_AT_MOST])


def _own_module(
    own: OwnModule,
    folder: str | Path | None,
    precision: str | Path | Recipe,
    options: Options,
    progress: Progress,
) -> Quantized:
    recipe = as_recipe(precision, None) or RECIPES["int8"]
    _check_level(recipe)
    if options.recovery_minutes or options.recovery_clean_weight:
        raise UserError("recovery is for networks of this project; train your module yourself")
    board = find_board(options.board)
    clips, noisy = None, []
    if options.ranges is not None and not recipe.needs_ranges:
        raise UserError("ranges are for a precision with calibrated ranges, as int8")
    given = _given_ranges(options)
    details: dict[str, Any] = {}
    if not recipe.is_float:  # bad clips are found before minutes of conversion
        clips = read_calibration_clips(
            clips_folder() if folder is None else Path(folder), own.signal.sample_rate
        )
        noisy = noisy_clips(clips)
        details = _describe_clips(clips, len(noisy))
    lowered = lower_module(own, progress)
    made = make_module(lowered, recipe, noisy, details, progress, given)
    notes = [*own.notes, f"output against the module's: SNR {made.snr_db:.1f} dB"]
    if made.float_scopes:
        layers = (
            f"{layer} ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})"
            for layer, kinds in made.float_scopes.items()
        )
        notes.append(f"stays float: {', '.join(layers)}")
    if clips is None:
        return Quantized(made.content, own, recipe, notes=tuple(notes))

    def look_inside(judged: JudgedClips, progress: Progress) -> Inside:
        signal = signal_for(own.signal, recipe)
        return Inside(cut_off(lowered.frame, signal, list(judged.noisy), made.ranges))

    calibration = _Calibration(
        clips, board, lambda: make_module(lowered, RECIPES["float"]).content, look_inside
    )
    return Quantized(
        made.content, own, recipe, None, clips.skipped, tuple(notes), calibration, made.ranges
    )


def _separator(
    checkpoint: Checkpoint, folder: Path, recipe: Recipe, progress: Progress
) -> Quantized:
    recipe = replace(recipe, level_dbfs=None)  # loudness is divided out of a recording
    content, clips = quantize_separator(checkpoint, folder, recipe, progress)
    if clips is None:
        return Quantized(content, checkpoint, recipe)
    quality = manifest_of(content, "the model file").quality
    note = (
        f"mask SNR to the float network {quality['mask_snr_db']} dB, largest error "
        f"{quality['mask_largest_error']}, on {quality['windows']} windows kept from calibration"
    )
    return Quantized(content, checkpoint, recipe, skipped=clips.skipped, notes=(note,))


def _enhancer(
    checkpoint: Checkpoint,
    folder: Path,
    recipe: Recipe | None,
    options: Options,
    progress: Progress,
) -> Quantized:
    board = find_board(options.board)
    given = _given_ranges(options)
    clips = read_calibration_clips(folder, checkpoint.signal.sample_rate)
    decision = recovered = None
    if recipe is None:
        if given:
            raise UserError("ranges are for one precision; name it beside them, as int8")
        heard, judged = split_clips(clips)
        noisy = noisy_clips(heard)
        recovery, notes = _recovery(options, None, heard, progress)
        decision = choose_recipe(
            *(checkpoint, noisy, judged, options.quality_budget, board, progress), recovery=recovery
        )
        chosen = decision.chosen
        recipe, calibrated, ranges = chosen.recipe, chosen.calibrated, chosen.ranges
        recovered = chosen.recovered
    else:
        noisy = noisy_clips(clips)
        recovery, notes = _recovery(options, recipe, clips, progress)
        calibrated = calibrate_checkpoint(checkpoint, noisy, recipe, progress)
        found = find_ranges(calibrated, recipe)
        require_known(given, found)
        ranges = found | given
        if recovery is not None:
            recovered = recovery(calibrated, recipe, ranges)
            calibrated = recovered.calibrated
    details = _describe(clips, len(noisy), calibrated, recovered, decision)
    content = build_proven(calibrated, recipe, ranges, details)
    if recipe.is_int16:
        content = with_weights(content, partial(fixed_engine, calibrated, recipe, ranges))
    elif recipe.is_int8:
        content = with_weights(content, partial(int8_engine, content))
    return Quantized(
        content,
        checkpoint,
        recipe,
        decision,
        clips.skipped,
        notes,
        _Calibration(
            *(clips, board, partial(build_float, checkpoint)),
            partial(look_inside, calibrated, recipe, ranges),
        ),
        ranges,
    )


def _with_strength(content: bytes, strength: Strength) -> bytes:
    manifest = manifest_of(content, "the model file")
    if manifest.strength == strength:
        return content
    return attach_manifest(content, replace(manifest, strength=strength))


def _recovery(
    options: Options, recipe: Recipe | None, clips: CalibrationClips, progress: Progress
) -> tuple[Recovery | None, tuple[str, ...]]:
    """As asked for; unasked where 8 bits hold a network badly, and clips are enough."""
    unasked = options.recovery_minutes is None
    if unasked:
        # Ranges that were given are of the weights as they are. With float ends it gains nothing on
        # voices other than those it learns from.
        if options.ranges is not None or not (recipe is None or recipe.is_int8):
            return None, ()
        if not enough_to_hold_out(clips):
            return None, ("no recovery: too few clips to hold some out for validation",)
    minutes = math.inf if options.recovery_minutes is None else options.recovery_minutes
    if not minutes:
        return None, ()
    hold_out(clips)  # too few clips are found before minutes of calibration
    settings = RecoverySettings(minutes, clean_weight=options.recovery_clean_weight)
    if recipe is None:
        settings = replace(settings, steps=RECOVERY_STEPS)
    elif unasked:
        settings = replace(settings, least_loss=WORTH_RECOVERING)
    return partial(recover, clips=clips, settings=settings, progress=progress), ()


def _describe(
    clips: CalibrationClips,
    noisy: int,
    calibrated: CalibratedGraph,
    recovered: Recovered | None,
    decision: Decision | None,
) -> dict[str, Any]:
    """What the manifest says of the calibration."""
    details = _describe_clips(clips, noisy) | {"frames": calibrated.statistics.frames}
    if decision is not None:
        details["decision"] = decision.to_dict()
    if recovered is not None:
        details["recovery"] = recovered.describe()
    return details


def _describe_clips(clips: CalibrationClips, noisy: int) -> dict[str, Any]:
    return {
        "clips": noisy,
        "clean": len(clips.clean),
        "noise": len(clips.noise),
        "skipped": len(clips.skipped),
    }
