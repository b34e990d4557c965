"""Recovery: fine-tuning of a quantized step's weights against what rounding does to them.

Quantization-aware training (Jacob et al., "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", CVPR 2018): the graph runs with the rounding of its
file, gradients pass straight through, and the float weights behind it move. The float network
teaches: its output is the target, by the loss that networks are trained with and by the perceptual
one, so that what can be heard of rounding counts. No label is needed; clean speech, where it is
known, can be a target besides. A held-out part of the clips decides which weights are kept: the
first ones unless others are clearly better.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quant.audio.clips import CalibrationClips, hold_out
from quant.audio.frames import apply_mask, heard, synthesize
from quant.audio.mixing import calibration_mixtures, random_part
from quant.graph.execute import run_sequence
from quant.graph.graph import Graph, Range, Value
from quant.graph.recipes import Recipe
from quant.ptq.bias_correction import corrected_biases, take_back_shifts
from quant.ptq.pipeline import CalibratedGraph, Progress, measure_shifts, simulate
from quant.training.losses import hybrid_loss
from quant.training.perceptual import imitation_loss
from quant.training.spectra import to_spectrogram

VALIDATION_SEED = 1
CLIPPED_GRADIENT = 1.0
# Decay of Adam's second moment: there are few steps to forget the first gradients in.
MOMENT_DECAY = 0.98

# Weights whose validation loss is below this lose by recovery on other voices, as those of the DNS3
# (-1.4) and the built-in checkpoint (-1.7) do; VCTK's (1.5) gain.
WORTH_RECOVERING = 0.0

# Noisy samples [clips, n], and the clean ones where they are known.
Batch = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class RecoverySettings:
    """How to recover.

    Attributes:
        minutes: time to spend, validation included.
        steps: the most steps to take.
        batch_size: clips of a batch.
        seconds: length of each.
        learning_rate: highest step of a weight, relative to the root mean square of its output
            channel's weights.
        warmup_steps: steps over which the learning rate rises.
        validate_every: steps between validations.
        least_loss: validation loss below which the first weights are kept without a step.
        least_gain: by how much the validation loss must fall for new weights to be kept.
        clean_weight: of the loss to the clean speech where it is known. What is learnt from the
            voices of few clips need not hold for others (docs/notes/quantization.md).
        validation_clips: held-out clips to validate on.
        validation_seconds: length of each.
        seed: of the batches.
    """

    minutes: float = math.inf
    steps: float = 80
    batch_size: int = 8
    seconds: float = 2.0
    learning_rate: float = 5e-4
    warmup_steps: int = 10
    validate_every: int = 20
    least_loss: float = -math.inf
    least_gain: float = 0.05
    clean_weight: float = 0.0
    validation_clips: int = 16
    validation_seconds: float = 3.0
    seed: int = 0


@dataclass(frozen=True)
class Recovered:
    """The outcome.

    Attributes:
        calibrated: the network with the weights that are kept.
        steps: that were taken.
        kept_step: after which the kept weights were; 0 for the first ones.
        loss_before: validation loss of the first weights.
        loss_after: of the kept ones, not above it.
    """

    calibrated: CalibratedGraph
    steps: int
    kept_step: int
    loss_before: float
    loss_after: float

    def describe(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "steps": self.steps,
            "kept_step": self.kept_step,
            "validation_loss": [round(self.loss_before, 4), round(self.loss_after, 4)],
        }


class Adjustments:
    """Small changes of a graph's trained constants, relative to their size.

    Constants under one range key are one weight. Zeros are structure (block-diagonal and padded
    weights) and stay zero.
    """

    def __init__(self, graph: Graph) -> None:
        self._values: dict[str, list[Value]] = {}
        self._first: dict[str, Tensor] = {}
        self._spread: dict[str, Tensor] = {}
        for operator in graph.operators:
            for position, value in enumerate(operator.inputs):
                if value.constant is None or not value.constant.requires_grad:
                    continue
                key = value.range_key
                self._values.setdefault(key, []).append(value)
                if key not in self._first:
                    axis = operator.rule.output_axis if position == 1 else None
                    self._first[key] = value.constant.detach().clone()
                    self._spread[key] = _spread(self._first[key], axis)
        self.changes = {
            key: torch.zeros_like(first, requires_grad=True) for key, first in self._first.items()
        }

    def apply(self) -> None:
        """Make the graph's constants functions of `changes`."""
        for key, values in self._values.items():
            constant = self._first[key] + self._spread[key] * self.changes[key]
            for value in values:
                value.constant = constant

    def copy(self) -> dict[str, Tensor]:
        """The changes as they are now."""
        return {key: change.detach().clone() for key, change in self.changes.items()}

    @torch.no_grad()
    def restore(self, changes: Mapping[str, Tensor]) -> None:
        """Take over changes that `copy` gave."""
        for key, change in changes.items():
            self.changes[key].copy_(change)


def _spread(constant: Tensor, output_axis: int | None) -> Tensor:
    """Root mean square of a constant, per output channel of a weight; 0 where it is zero."""
    if output_axis is None or constant.dim() < 2:
        usual = constant.square().mean().sqrt()
    else:
        others = [axis for axis in range(constant.dim()) if axis != output_axis]
        filled = (constant != 0).sum(dim=others, keepdim=True).clamp(min=1)
        usual = (constant.square().sum(dim=others, keepdim=True) / filled).sqrt()
    return usual * (constant != 0)


# Recovers a calibrated network's weights for a recipe and its ranges.
Recovery = Callable[[CalibratedGraph, Recipe, Mapping[str, Range]], Recovered]


@dataclass(frozen=True)
class _Lesson:
    """What the rounded graph should do, by its float teacher and, if wanted, by clean speech."""

    recipe: Recipe
    teacher: Graph
    clean_weight: float

    def loss(self, student: CalibratedGraph, ranges: Mapping[str, Range], batch: Batch) -> Tensor:
        """How far the file's output is from the teacher's, and from clean speech."""
        noisy, clean = batch
        graph = student.graph
        spectra, features = heard(noisy, student.signal)
        with corrected_biases(graph, self.recipe.choose, student.statistics.input_means):
            hook = simulate(student, self.recipe, ranges)
            (mask,) = run_sequence(graph, {"features": features}, hook)
        with torch.no_grad():
            (wanted,) = run_sequence(self.teacher, {"features": features})
        enhanced, taught = (
            to_spectrogram(self._samples(spectra, m, student, noisy.shape[-1]), student.signal)
            for m in (mask, wanted)
        )
        loss = imitation_loss(enhanced, taught, student.signal)
        if clean is None or not self.clean_weight:
            return loss
        return loss + self.clean_weight * hybrid_loss(
            enhanced, to_spectrogram(clean, student.signal), student.signal
        )

    @staticmethod
    def _samples(spectra: Tensor, mask: Tensor, student: CalibratedGraph, length: int) -> Tensor:
        masked = apply_mask(spectra, mask, student.signal, student.graph.lookahead)
        return synthesize(masked, length, student.signal)


def recover(
    calibrated: CalibratedGraph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    clips: CalibrationClips,
    settings: RecoverySettings,
    progress: Progress = lambda stage, done, total: None,
) -> Recovered:
    """Fine-tune the weights of a calibrated graph for the rounding of its file.

    Args:
        calibrated: the network; left as it was.
        recipe: precision of every operator, some in 8 or 16 bits.
        ranges: of its values; recovered weights are for them.
        clips: to fine-tune on and to validate with.
        settings: how.
        progress: told what share, in percent, is spent.

    Raises:
        UserError: there are too few clips to hold some out.
    """
    training, held_out = hold_out(clips)
    checkpoint = calibrated.checkpoint
    student = copy.deepcopy(calibrated, {id(checkpoint): checkpoint})
    with torch.no_grad():
        teacher = checkpoint.step()
    lesson = _Lesson(recipe, teacher, settings.clean_weight)
    count = settings.validation_clips
    validation = next(_batches(held_out, count, settings.validation_seconds, VALIDATION_SEED))
    with torch.enable_grad(), one_thread():
        # Rounded values are made up for once, before; what weights become is trained with that.
        shifts = measure_shifts(student, recipe, ranges)
        take_back_shifts(student.graph, recipe.choose, shifts)
        student = replace(student, clips=())
        adjustments = Adjustments(student.graph)
        outcome = fine_tune(
            adjustments,
            lambda batch: lesson.loss(student, ranges, batch),
            _batches(training, settings.batch_size, settings.seconds, settings.seed),
            validation,
            settings,
            progress,
        )
    with torch.no_grad():
        adjustments.apply()
    # Where nothing is kept, the same file as without recovery.
    found = student if outcome.kept_step else calibrated
    return Recovered(found, outcome.steps, outcome.kept_step, outcome.before, outcome.after)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core.

    Operators are small: a second thread gains little, and waiting for it where another job has that
    core was seen to take twenty times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Outcome:
    """Loss before and after fine-tuning, the step that is kept, and the steps taken."""

    before: float
    after: float
    kept_step: int
    steps: int


def fine_tune(
    adjustments: Adjustments,
    loss: Callable[[Batch], Tensor],
    batches: Iterator[Batch],
    validation: Batch,
    settings: RecoverySettings,
    progress: Progress = lambda stage, done, total: None,
) -> _Outcome:
    """Change a graph's constants by Adam; those with the least validation loss are kept.

    Args:
        adjustments: of the graph.
        loss: of a batch, with the graph's constants as they are now.
        batches: to fine-tune on.
        validation: held-out batch.
        settings: how.
        progress: told what share, in percent, is spent.
    """
    started, seconds = time.perf_counter(), 60 * settings.minutes

    def spent() -> float:
        elapsed = (time.perf_counter() - started) / seconds
        return min(1.0, max(elapsed, step / settings.steps))

    @torch.no_grad()
    def validate() -> float:
        adjustments.apply()
        return float(loss(validation))

    step = 0
    before = best = validate()
    if before < settings.least_loss:
        return _Outcome(before, before, 0, 0)
    first = kept = adjustments.copy()
    kept_step = 0
    optimizer = torch.optim.Adam(
        adjustments.changes.values(), lr=settings.learning_rate, betas=(0.9, MOMENT_DECAY)
    )
    for batch in batches:
        if spent() >= 1:
            break
        warmup = min(1.0, (step + 1) / settings.warmup_steps)
        cosine = (1 + math.cos(math.pi * spent())) / 2
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warmup * cosine
        adjustments.apply()
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(adjustments.changes.values(), CLIPPED_GRADIENT)
        optimizer.step()
        step += 1
        if step % settings.validate_every == 0:
            now = validate()
            if now < best:
                best, kept, kept_step = now, adjustments.copy(), step
        progress("recovery", round(100 * spent()), 100)
    if before - best < settings.least_gain:
        kept, kept_step, best = first, 0, before
    adjustments.restore(kept)
    return _Outcome(before, best, kept_step, step)


def _batches(clips: CalibrationClips, size: int, seconds: float, seed: int) -> Iterator[Batch]:
    """Random parts of noisy clips, or of mixtures that are made of the others."""
    random = np.random.default_rng(seed)
    length = round(seconds * clips.rate)
    sources = clips.noisy or clips.clean
    while True:
        chosen = random.choice(len(sources), size, replace=len(sources) < size)
        parts = [_audible(sources[i].samples, length, random) for i in chosen]
        if clips.noisy:
            yield _stack(parts), None
            continue
        noise = [clip.samples for clip in clips.noise]
        mixtures = calibration_mixtures(parts, noise, int(random.integers(2**31)))
        yield _stack([m.noisy for m in mixtures]), _stack([m.clean for m in mixtures])


def _audible(samples: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """A random part that is not silent; clips are not silent as a whole."""
    while True:
        part = random_part(samples, length, random)
        if part.any():
            return part


def _stack(clips: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(clips).astype(np.float32))
