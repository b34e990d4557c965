"""A network in training, run as the quantized file made of it computes.

Quantization-aware training (Jacob et al., "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", CVPR 2018) on the very graph that `quantize` builds:
folded, equalized, with corrected biases and ranges from calibration. Gradients reach the network's
own parameters, so what is trained stays an ordinary checkpoint.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from quant.audio.frames import apply_mask, heard, heard_in_calibration, synthesize
from quant.graph.encoding import assign_encodings
from quant.graph.execute import run_sequence
from quant.graph.graph import Graph
from quant.graph.recipes import Recipe
from quant.graph.simulate import FakeQuantizer
from quant.networks.network import Network
from quant.ptq.bias_correction import corrected_biases, rounding_shifts
from quant.ptq.calibration import batches
from quant.ptq.equalization import equalize
from quant.ptq.pipeline import clips_for_shifts, equalized_step, signal_for, statistics_for
from quant.ptq.ranges import cut_to_rectified_sums, percentile_ranges


class RoundedNetwork:
    """A network with the rounding of its file; BatchNorm counts as in evaluation."""

    def __init__(
        self, network: Network, model: nn.Module, recipe: Recipe, noisy: Sequence[np.ndarray]
    ) -> None:
        """Calibrate with the network as it is.

        Args:
            network: what the model is one of.
            model: in training.
            recipe: static, as `int8`.
            noisy: what to calibrate with, float32 [n] each.
        """
        self._network = network
        self._model = model
        self._recipe = recipe
        self._signal = signal_for(network.signal(model), recipe)
        self._noisy = noisy
        self.calibrate()

    @torch.no_grad()
    def calibrate(self) -> None:
        """Find scales and ranges anew, for the weights as they are now."""
        described = self._network.step(self._model, self._recipe.splits)
        self._step = equalized_step(described, self._noisy, self._signal)
        graph, rules = self._step.graph, self._network.range_rules
        statistics = statistics_for(rules, graph, self._noisy, self._signal)
        self._means = statistics.input_means
        ranges = cut_to_rectified_sums(graph, percentile_ranges(statistics, rules))
        choose = self._recipe.choose
        self._encodings = assign_encodings(graph, choose, ranges, self._recipe.signals)
        features = (
            heard_in_calibration(clips, self._signal)
            for clips in batches(clips_for_shifts(self._noisy))
        )
        self._shifts = rounding_shifts(graph, self._rounding(), features)

    def enhance(self, noisy: Tensor) -> Tensor:
        """Enhance samples [clips, n] as the file's frame loop does."""
        graph = self._with_present_weights()
        spectra, features = heard(noisy, self._signal)
        with corrected_biases(graph, self._recipe.choose, self._means, self._shifts):
            (mask,) = run_sequence(graph, {graph.inputs[0].name: features}, self._rounding())
        masked = apply_mask(spectra, mask, self._signal, graph.lookahead)
        return synthesize(masked, noisy.shape[-1], self._signal)

    def _rounding(self) -> FakeQuantizer:
        return FakeQuantizer(self._step.graph, self._encodings, self._recipe.choose)

    def _with_present_weights(self) -> Graph:
        """The calibrated graph, its constants functions of the parameters as they are now."""
        graph = self._step.graph
        present = self._network.step(self._model, self._recipe.splits)
        for operator, described in zip(graph.operators, present.operators, strict=True):
            operator.attributes.update(described.attributes)  # slopes of PReLUs
            for value, source in zip(operator.inputs, described.inputs, strict=True):
                value.constant = source.constant
        equalize(graph, self._step.classes, self._step.scales)
        return graph
