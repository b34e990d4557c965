"""A network learns from a trained one: what is compared, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_se.errors import UserError
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint, network_metadata
from quant.networks.registry import find_network
from quant.training.checkpoint import write_tensors
from quant.training.loop import Budget, RunOptions, Trainer, TrainingSettings
from quant.training.losses import hybrid_loss
from quant.training.spectra import to_samples, to_spectrogram
from quant.training.teacher import Teacher, load_teacher

CPU = torch.device("cpu")
NOISY = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))


def teacher() -> Teacher:
    checkpoint = load_checkpoint(default_checkpoint_path())
    return Teacher(checkpoint, weight=2.0, si_snr_weight=0.0, device=CPU)


@pytest.mark.parametrize("student", ["gtcrn", "ul_unas"])
def test_the_loss_is_to_the_samples_that_the_teacher_gives(student):
    """A student hears by its own transform, and is compared by it."""
    built_in = load_checkpoint(default_checkpoint_path())
    with torch.no_grad():
        enhanced = built_in.model(to_spectrogram(NOISY, built_in.signal))
    samples = to_samples(enhanced, built_in.signal, NOISY.shape[-1])
    signal = find_network(student).signal(find_network(student).create())

    same = teacher().loss(to_spectrogram(samples, signal), NOISY, signal)
    other = teacher().loss(to_spectrogram(NOISY, signal), NOISY, signal)

    noisy, taught = (to_spectrogram(part, signal) for part in (NOISY, samples))
    assert float(same) < 1e-6
    torch.testing.assert_close(other, 2 * hybrid_loss(noisy, taught, signal, 0.0))


def test_a_run_learns_from_its_teacher_and_leaves_it_as_it_is(tmp_path, speech, noise):
    checkpoint = load_checkpoint(default_checkpoint_path())
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    settings = TrainingSettings(batch_size=2, seconds=0.25, warmup_steps=2)
    learnt: list[torch.Tensor] = []
    for weight in (0.0, 2.0):
        torch.manual_seed(3)
        (out := tmp_path / str(weight)).mkdir()
        options = RunOptions(out, Budget(steps=3), workers=0)
        run = Trainer(
            find_network("gtcrn").create(),
            replace(settings, teacher=checkpoint.sha256, teacher_weight=weight),
            options,
            checkpoint,
        )
        run.run(speech, noise, [], {})
        learnt.append(run.model.state_dict()["encoder.en_convs.0.conv.weight"])

    assert not torch.equal(*learnt)
    after = checkpoint.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_run_does_not_resume_with_another_teacher(tmp_path):
    def trainer(sha256: str) -> Trainer:
        model = find_network("gtcrn").create()
        settings = TrainingSettings(teacher=sha256)
        return Trainer(model, settings, RunOptions(tmp_path, Budget(steps=1)))

    trainer("").save()

    trainer("").resume()
    with pytest.raises(UserError, match="was trained with teacher"):
        trainer("another").resume()


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("cascaded_lstm", {}, "separates speakers"),
        ("gtcrn", {"sample_rate": 48000, "window": 1536}, "hears 48000 Hz"),
    ],
)
def test_a_network_that_cannot_teach_is_refused(tmp_path: Path, architecture, options, message):
    path = tmp_path / "teacher.safetensors"
    model = find_network(architecture).create(**options)
    write_tensors(path, model.state_dict(), network_metadata(architecture, options))

    with pytest.raises(UserError, match=message):
        load_teacher(path, 16000)
