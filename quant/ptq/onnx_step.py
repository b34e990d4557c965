"""The float streaming step as an ONNX model file, with its manifest in the metadata."""

from edge_se.manifest import Manifest, StateSpec, Tensors, TensorSpec
from edge_se.model_file import attach_manifest
from quant.graph.graph import State
from quant.graph.onnx import next_name, write_onnx
from quant.graph.recipes import RECIPES
from quant.networks.checkpoint import Checkpoint
from quant.ptq.pipeline import tool_versions
from quant.ptq.proof import prove_against_torch

# Names of distributions whose versions decide the file's content.
TOOLS = ("edge-se", "torch", "numpy", "onnx")


def build_onnx(checkpoint: Checkpoint) -> bytes:
    """The model file: inputs "features" and each state, outputs "mask" and "<state>.next".

    The same checkpoint and tools give the same bytes. The file has run once, and puts out what
    torch does.

    Raises:
        UserError: it can't be run, or puts out something else.
    """
    graph, recipe = checkpoint.step(), RECIPES["float"]
    model = write_onnx(graph)
    (features,), (mask,) = graph.inputs, graph.outputs
    manifest = Manifest(
        architecture=checkpoint.architecture,
        precision=recipe.name,
        signal=checkpoint.signal,
        lookahead_frames=graph.lookahead,
        tensors=Tensors(
            TensorSpec(features.name, features.shape), TensorSpec(mask.name, mask.shape)
        ),
        states=tuple(_state(state) for state in graph.states),
        checkpoint=checkpoint.describe(),
        recipe=recipe.describe(),
        tools=tool_versions(TOOLS),
    )
    content = attach_manifest(model.SerializeToString(deterministic=True), manifest)
    prove_against_torch(content, checkpoint, checkpoint.signal, engine="onnxruntime")
    return content


def _state(state: State) -> StateSpec:
    return StateSpec(
        name=state.name,
        shape=state.input.shape,
        dtype="float32",
        scale=0.0,
        zero_point=0,
        reset_value=0.0,
        input=state.name,
        output=next_name(state),
    )
