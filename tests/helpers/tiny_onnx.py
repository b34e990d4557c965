"""The tiny float model of tiny_model as an ONNX step, as `edge-se convert` writes its models."""

from dataclasses import replace
from pathlib import Path

from onnx import TensorProto, helper

from edge_se.manifest import Tensors
from edge_se.model_file import attach_manifest
from tests.helpers.tiny_model import BINS, tiny_flatbuffer


def write_tiny_onnx(path: Path, with_manifest: bool = True, **state_changes) -> Path:
    """Write the model; `state_changes` replace fields of the state in its manifest."""
    manifest = tiny_flatbuffer("float32")[1]
    signals, (state,) = manifest.tensors, manifest.states
    state = replace(state, input=state.name, output=f"{state.name}.next", **state_changes)
    manifest = replace(
        manifest,
        tensors=Tensors(
            replace(signals.features, tensor="features"), replace(signals.mask, tensor="mask")
        ),
        states=(state,),
    )
    new = f"{manifest.states[0].name}.next"
    constants = {"zero": [0], "one": [1]}
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["features", "zero", "one", "zero"], ["magnitude"]),
            helper.make_node("Mul", ["magnitude", "half"], ["new_half"]),
            helper.make_node("Mul", ["smoother.cache", "half"], ["old_half"]),
            helper.make_node("Add", ["new_half", "old_half"], [new]),
            helper.make_node("Sigmoid", [new], ["real"]),
            helper.make_node("Mul", [new, "quarter"], ["imaginary"]),
            helper.make_node("Concat", ["real", "imaginary"], ["mask"], axis=0),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, (3, BINS)),
            helper.make_tensor_value_info("smoother.cache", TensorProto.FLOAT, (1, BINS)),
        ],
        [
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, (2, BINS)),
            helper.make_tensor_value_info(new, TensorProto.FLOAT, (1, BINS)),
        ],
        [
            *(
                helper.make_tensor(name, TensorProto.INT64, [1], value)
                for name, value in constants.items()
            ),
            helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("quarter", TensorProto.FLOAT, [], [0.25]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(attach_manifest(data, manifest) if with_manifest else data)
    return path
