"""A model file runs, in a process of its own, before anyone has it."""

from dataclasses import replace

import numpy as np
import pytest

from edge_se.errors import UserError
from edge_se.model_file import attach_manifest, manifest_of, split
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint
from quant.ptq import proof
from quant.ptq.pipeline import build_float


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(default_checkpoint_path())


@pytest.fixture(scope="module")
def content(checkpoint):
    return build_float(checkpoint)


@pytest.fixture(scope="module")
def samples():
    return proof.speech(16000)


def test_a_float_file_does_what_torch_does(checkpoint, content, samples):
    expected = proof.simulated(checkpoint.graph(), checkpoint.signal, samples)

    proof.prove(content, samples, expected, rounded=False)


def test_a_file_that_does_something_else_is_refused(content, samples):
    with pytest.raises(UserError, match=r"differs from its simulation .* so it was not written"):
        proof.prove(content, samples, np.roll(samples, 100), rounded=True)


def test_a_file_that_the_runtime_refuses_is_refused(content, samples):
    body = split(content)[0]
    broken = body[:8] + bytes(len(body) - 8)
    manifest = replace(manifest_of(content, "it"), body_sha256="")

    with pytest.raises(UserError, match="so it was not written") as error:
        proof.run_apart(attach_manifest(broken, manifest), samples)

    assert "\n" not in str(error.value)


def test_an_abort_ends_the_child_alone(content, samples, monkeypatch):
    monkeypatch.setattr(proof, "_CHILD", "import os; os.abort()")

    with pytest.raises(UserError, match="made the runtime end by SIGABRT"):
        proof.run_apart(content, samples)


def test_rounding_elsewhere_may_do_what_rounding_does_and_not_more(samples):
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)

    def apart(db: float) -> np.ndarray:
        return samples + noise * (np.linalg.norm(samples) / np.linalg.norm(noise) / 10 ** (db / 20))

    near, far = apart(40), apart(-14)
    proof.require_near(apart(9), samples, rounded=True, unrounded=lambda: far)
    for found, unrounded in ((9, None), (9, lambda: near), (2, lambda: far)):
        with pytest.raises(UserError, match="differs from its simulation"):
            proof.require_near(apart(found), samples, rounded=True, unrounded=unrounded)
