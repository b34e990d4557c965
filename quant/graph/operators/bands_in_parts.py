"""Bins of the input signal merged to bands, in two parts."""

import torch
from torch import Tensor

from edge_se.manifest import BandMerging
from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


def bands_in_parts(graph: Graph, x: Value, bands: BandMerging, name: str) -> Value:
    """An input signal [R, bins] as both parts of its bands [2 R, bands], outside of the file.

    See `edge_se.manifest.BandMerging`.
    """
    shape = (2 * x.shape[0], bands.count)
    return graph.append("bands_in_parts", [x], [shape], name, bands=bands)[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    bands: BandMerging = operator.attributes["bands"]
    features = inputs[0]
    fine = features.clamp(-bands.bound, bands.bound)
    parts = torch.cat([fine, (features - fine) / bands.ratio], dim=1)
    alike, others = parts.tensor_split([bands.alike], dim=-1)
    matrix = torch.from_numpy(bands.matrix(features.shape[-1])).to(others)
    return [torch.cat([alike, others @ matrix], dim=-1)]


register(Kind("bands_in_parts", "", run=_run, outside=True))
