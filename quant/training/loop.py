"""The training loop.

Adam with warm-up and cosine decay, a moving average of the weights, validation, early stopping, and
checkpoints from which a run resumes exactly.
"""

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from edge_se.ending import ENDING_SIGNALS
from edge_se.errors import UserError
from quant.audio.mixing import Mixture
from quant.graph.recipes import find_recipe
from quant.networks.checkpoint import Checkpoint, network_metadata
from quant.networks.registry import DEFAULT, find_network
from quant.ptq.pipeline import signal_for
from quant.training.accidents import AccidentSettings
from quant.training.augment import AugmentSettings
from quant.training.checkpoint import Progress, load_state, save_state, write_tensors
from quant.training.data import Corpus, MixtureStream, batches
from quant.training.fading import GAP, FadingPenalty
from quant.training.fast_layers import use_fast_layers
from quant.training.gpu.captured import CapturedStep
from quant.training.losses import hybrid_loss
from quant.training.outliers import OutlierPenalty
from quant.training.perceptual import perceptual_loss
from quant.training.rounded import RoundedNetwork
from quant.training.spectra import to_spectrogram
from quant.training.teacher import Teacher
from quant.training.validation import Scores, score_enhancer, score_model

LAST = "last.safetensors"
BEST = "best.safetensors"
HISTORY = "history.jsonl"
# A run that is killed has lost no more than this, beside the step that it was in.
SAVED_EVERY_SECONDS = 300.0
# Mixtures that ranges are found with where rounding is trained.
CALIBRATED_CLIPS, CALIBRATED_SECONDS = 32, 3.0

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or minutes of training time (validation excluded)."""

    steps: int | None = None
    minutes: float | None = None

    def fraction(self, progress: Progress) -> float:
        """Part of the budget that is spent, 0 to 1."""
        if self.steps is not None:
            return min(1.0, progress.step / self.steps)
        assert self.minutes is not None
        return min(1.0, progress.seconds / (60 * self.minutes))


@dataclass(frozen=True)
class TrainingSettings:
    """What must not change when a run resumes."""

    architecture: str = DEFAULT.name
    network_options: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    seconds: float = 3.0
    learning_rate: float = 2e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 300
    clip_gradient: float = 5.0
    average_decay: float = 0.998
    outlier_weight: float = 0.0
    si_snr_weight: float = 1.0
    perceptual_weight: float = 0.0
    fading_weight: float = 0.0
    only: tuple[str, ...] = ()  # patterns of the weights that are trained, all without one
    precision: str = "float"
    teacher: str = ""  # SHA-256 of its file
    teacher_weight: float = 1.0
    seed: int = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    accidents: AccidentSettings = field(default_factory=AccidentSettings)

    def learning_rate_at(self, progress: Progress, budget: Budget) -> float:
        """Learning rate of the next step: linear warm-up, then half a cosine over the budget."""
        warmup = min(1.0, (progress.step + 1) / max(1, self.warmup_steps))
        cosine = (1 + math.cos(math.pi * budget.fraction(progress))) / 2
        span = self.learning_rate - self.final_learning_rate
        return warmup * (self.final_learning_rate + span * cosine)


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; free to differ when it resumes."""

    out: Path
    budget: Budget
    validate_every: int = 400
    patience: int = 20
    workers: int = 1
    device: str = "cpu"


class Trainer:
    """One training run: the network, its optimizer, the average of its weights, and progress."""

    def __init__(
        self,
        model: torch.nn.Module,
        settings: TrainingSettings,
        options: RunOptions,
        teacher: Checkpoint | None = None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.device = torch.device(options.device)
        self.network = find_network(settings.architecture)
        self.signal = self.network.signal(model)
        self.model = model.to(self.device)
        if settings.only:
            _freeze_all_but(self.model, settings.only)
        use_fast_layers(self.model)
        self._outliers = OutlierPenalty(self.model) if settings.outlier_weight else None
        self._fading: FadingPenalty | None = None
        if settings.fading_weight:
            if settings.seconds * self.signal.sample_rate < 2 * GAP * self.signal.hop:
                raise UserError(
                    f"memories are compared over {2 * GAP} frames, which {settings.seconds:g} s "
                    "don't have; take longer mixtures"
                )
            self._fading = FadingPenalty(self.model)
        self._teacher: Teacher | None = None
        if teacher is not None:
            weights = settings.teacher_weight, settings.si_snr_weight
            self._teacher = Teacher(teacher, *weights, self.device)
        on_gpu = self.device.type == "cuda"
        # What changes from step to step are tensors, so that a captured step sees it.
        self._average_rate = torch.zeros((), device=self.device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=torch.tensor(settings.learning_rate, device=self.device),
            fused=True,
            capturable=on_gpu,
        )
        self._optimize_batch = CapturedStep(self._optimize) if on_gpu else self._optimize
        self.average = _copy(self.model.state_dict())
        self.progress = Progress()
        # Where rounding is trained: the network with it, and the weights that it is calibrated for.
        self._rounded: RoundedNetwork | None = None
        self._calibrated: Weights = {}

    def resume(self) -> None:
        """Continue where the run in the output folder stopped.

        Raises:
            UserError: there is nothing to resume, or it was trained with other settings.
        """
        path = self.options.out / LAST
        # A run from before there were accidents goes on with those of this one.
        defaults = replace(TrainingSettings(), accidents=self.settings.accidents)
        average, self._calibrated, self.progress = load_state(
            path, self.model, self.optimizer, asdict(self.settings), asdict(defaults)
        )
        self.average = {name: value.to(self.device) for name, value in average.items()}

    def save(self) -> None:
        """Write the state of the run to `last.safetensors`.

        Raises:
            UserError: Weights are no numbers any more; the last state that was saved stays.
        """
        self._require_finite()
        save_state(
            self.options.out / LAST,
            self.model,
            self.average,
            self._calibrated,
            self.optimizer,
            self.progress,
            asdict(self.settings),
        )

    def run(
        self, speech: Corpus, noise: Corpus, mixtures: list[Mixture], description: dict[str, Any]
    ) -> str:
        """Train until the budget is spent, validation stops improving, or a signal arrives.

        Args:
            speech: clean training speech.
            noise: training noise.
            mixtures: validation mixtures; none means no validation.
            description: what to record in the best checkpoint (command, data).

        Returns:
            Why training ended, a sentence.
        """
        settings, options = self.settings, self.options
        stream = self._mixtures(
            *(speech, noise, settings.batch_size, settings.seconds, settings.seed),
            settings.accidents,
        )
        if settings.precision != "float":
            self._add_rounding(speech, noise)
        report = _Report(self)
        pinned = self.device.type == "cuda"
        with _interruptible() as interrupted:
            started = saved = time.perf_counter()
            for noisy, clean in batches(stream, self.progress.step, options.workers, pinned):
                if options.budget.fraction(self.progress) >= 1:
                    reason = "The budget is spent."
                    break
                if interrupted():
                    reason = "Interrupted; continue with --resume."
                    break
                if self._stale(mixtures):
                    reason = f"No better for {options.patience} validations."
                    break
                report.add(self.step(noisy, clean))
                seconds = self.progress.seconds + time.perf_counter() - started
                self.progress = replace(self.progress, seconds=seconds)
                if self.progress.step % options.validate_every == 0:
                    self._checkpoint(mixtures, description, report)
                    saved = time.perf_counter()
                elif time.perf_counter() - saved >= SAVED_EVERY_SECONDS:
                    self.save()
                    saved = time.perf_counter()
                started = time.perf_counter()
        if report.pending and not interrupted():
            self._checkpoint(mixtures, description, report)
        self.save()
        return reason

    def step(self, noisy: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Take one optimizer step on samples [batch, n]; returns the loss, a scalar."""
        self.model.train(self._rounded is None and not self.settings.only)
        for group in self.optimizer.param_groups:
            rate = self.settings.learning_rate_at(self.progress, self.options.budget)
            group["lr"].fill_(rate)
        # Early on the average must forget the random start faster than its decay would.
        step = self.progress.step
        decay = min(self.settings.average_decay, (1 + step) / (10 + step))
        self._average_rate.fill_(1 - decay)
        loss = self._optimize_batch(noisy, clean)
        self.progress = replace(self.progress, step=step + 1)
        return loss

    def _optimize(self, noisy: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """What a step computes, with nothing that depends on values: a GPU may replay it."""
        target = to_spectrogram(clean, self.signal)
        enhanced = self.model(to_spectrogram(noisy, self.signal))
        loss = self._loss(enhanced, target)
        if self._rounded is not None:
            rounded = to_spectrogram(self._rounded.enhance(noisy), self.signal)
            loss = (loss + self._loss(rounded, target)) / 2
        if self._teacher is not None:
            loss = loss + self._teacher.loss(enhanced, noisy, self.signal)
        if self._outliers is not None:
            loss = loss + self.settings.outlier_weight * self._outliers.take()
        if self._fading is not None:
            loss = loss + self.settings.fading_weight * self._fading.take()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_gradient)
        self.optimizer.step()
        self._update_average()
        return loss.detach()

    def _loss(self, enhanced: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        settings = self.settings
        loss = hybrid_loss(enhanced, target, self.signal, settings.si_snr_weight)
        if settings.perceptual_weight:
            heard = perceptual_loss(enhanced, target, self.signal)
            loss = loss + settings.perceptual_weight * heard
        return loss

    def _mixtures(
        self,
        speech: Corpus,
        noise: Corpus,
        count: int,
        seconds: float,
        seed: int,
        accidents: AccidentSettings,
    ) -> MixtureStream:
        heard = signal_for(self.signal, find_recipe("float", self.network.recipes))
        augment = self.settings.augment
        return MixtureStream(speech, noise, count, seconds, seed, augment, accidents, heard)

    def _add_rounding(self, speech: Corpus, noise: Corpus) -> None:
        """From now on also train what the quantized file would compute."""
        settings = self.settings
        clips = self._mixtures(
            *(speech, noise, CALIBRATED_CLIPS, CALIBRATED_SECONDS, settings.seed + 1),
            AccidentSettings(share=0),
        )
        noisy, _ = clips[0]
        self._calibrated = self._calibrated or _copy(self.model.state_dict())
        with self._holding(self._calibrated):
            self._rounded = RoundedNetwork(
                self.network,
                self.model,
                find_recipe(settings.precision, self.network.recipes),
                list(noisy.numpy()),
            )

    @contextmanager
    def _holding(self, weights: Weights) -> Iterator[None]:
        """The network with other weights, and in evaluation mode."""
        training = _copy(self.model.state_dict())
        self.model.load_state_dict(weights)
        self.model.eval()
        try:
            yield
        finally:
            self.model.load_state_dict(training)

    @torch.no_grad()
    def _update_average(self) -> None:
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, self._average_rate)
            else:
                self.average[name].copy_(value)

    def _stale(self, mixtures: list[Mixture]) -> bool:
        waited = self.progress.step - self.progress.best_step
        return bool(mixtures) and waited >= self.options.patience * self.options.validate_every

    def _checkpoint(
        self, mixtures: list[Mixture], description: dict[str, Any], report: "_Report"
    ) -> None:
        self._require_finite()
        scores = self._validate(mixtures) if mixtures else None
        if scores is None or scores.pesq > self.progress.best:
            best = scores.pesq if scores else self.progress.best
            self.progress = replace(self.progress, best=best, best_step=self.progress.step)
            self._save_best(scores, description)
        self.save()
        report.write(scores)

    def _require_finite(self) -> None:
        if not all(value.isfinite().all() for value in self.average.values()):
            raise UserError(
                f"training diverged before step {self.progress.step}: weights are no numbers any "
                f"more; {BEST} and {LAST} are as they were saved before; start again with a lower "
                "--learning-rate"
            )

    def _validate(self, mixtures: list[Mixture]) -> Scores:
        """Score the averaged weights, rounded if that is trained."""
        with self._holding(self.average):
            if self._rounded is None:
                return score_model(self.model, self.signal, mixtures, self.device)
            self._calibrated = _copy(self.average)
            self._rounded.calibrate()
            return score_enhancer(self._rounded.enhance, mixtures, self.signal.sample_rate)

    def _save_best(self, scores: Scores | None, description: dict[str, Any]) -> None:
        record = description | {
            "architecture": self.settings.architecture,
            "step": self.progress.step,
            "training_minutes": round(self.progress.seconds / 60, 1),
            "validation": asdict(scores) if scores else None,
            "settings": asdict(self.settings),
        }
        path = self.options.out / BEST
        network = network_metadata(self.settings.architecture, self.settings.network_options)
        write_tensors(path, self.average, network | {"edge_se_training": json.dumps(record)})


def _freeze_all_but(model: torch.nn.Module, patterns: tuple[str, ...]) -> None:
    names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    chosen = {name for name in names for pattern in patterns if fnmatchcase(name, pattern)}
    if not chosen:
        raise UserError(
            f"no weight is named {' or '.join(patterns)}; of {len(names)} one is {min(names)}"
        )
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in chosen)


def _copy(weights: Weights) -> Weights:
    return {name: value.clone() for name, value in weights.items()}


class _Report:
    """Lines of progress on the screen, and the same figures in `history.jsonl`."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._losses: list[torch.Tensor] = []
        self._started = time.perf_counter()
        self._start = trainer.progress

    @property
    def pending(self) -> bool:
        """Whether steps were taken since the last report."""
        return bool(self._losses)

    def add(self, loss: torch.Tensor) -> None:
        """Note the loss of a step."""
        self._losses.append(loss)

    def write(self, scores: Scores | None) -> None:
        """Print and record how the run stands."""
        trainer, progress = self._trainer, self._trainer.progress
        elapsed = time.perf_counter() - self._started
        steps = progress.step - self._start.step
        settings = trainer.settings
        speed = steps * settings.batch_size * settings.seconds / elapsed
        spent = trainer.options.budget.fraction(progress)
        share = spent - trainer.options.budget.fraction(self._start)
        left = elapsed / share * (1 - spent) if share > 0 else float("nan")
        loss = float(torch.stack(self._losses).mean())
        self._losses.clear()
        entry = {
            "step": progress.step,
            "training_seconds": round(progress.seconds, 1),
            "loss": round(loss, 5),
            "learning_rate": settings.learning_rate_at(progress, trainer.options.budget),
            "pesq": scores and round(scores.pesq, 4),
            "si_snr": scores and round(scores.si_snr, 3),
            "audio_seconds_per_second": round(speed, 1),
        }
        with (trainer.options.out / HISTORY).open("a") as history:
            history.write(json.dumps(entry) + "\n")
        mark = " *" if progress.best_step == progress.step else ""
        print(
            f"step {progress.step}  loss {loss:.3f}  {scores or 'not validated'}{mark}  "
            f"{speed:.0f} s of audio per s  {_duration(left)} left",
            flush=True,
        )


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Let a signal ask for an end after the current step; yields whether one came."""
    received: list[int] = []
    # nohup has the closed terminal's ignored.
    signals = [each for each in ENDING_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    previous = [signal.signal(number, lambda got, _: received.append(got)) for number in signals]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
