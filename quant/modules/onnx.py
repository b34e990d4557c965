"""The frame of somebody's own module as an ONNX model file, through torch.export."""

import importlib.util

import onnx
import torch

from edge_se.errors import UserError
from edge_se.manifest import Manifest, StateSpec, Tensors, TensorSpec
from edge_se.model_file import attach_manifest
from quant.graph.recipes import RECIPES
from quant.modules.export import export, quiet
from quant.modules.own import FEATURES, MASK, OwnModule, told
from quant.modules.pipeline import ROUTE, enhanced
from quant.modules.step_file import NEXT
from quant.ptq.pipeline import tool_versions
from quant.ptq.proof import prove, speech

TOOLS = ("edge-se", "torch", "numpy", "onnx", "onnxscript")


def build_module_onnx(own: OwnModule) -> bytes:
    """The model file: inputs "features" and each state, outputs "mask" and "<state>.next".

    It has run once, and puts out what the module does.

    Raises:
        UserError: the module can't be exported, or the file puts out something else.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UserError(
            'a module of your own needs onnxscript to become ONNX; pip install "edge-se[litert]"'
        )
    program = export(own)
    inputs = [FEATURES, *own.state_names]
    outputs = [MASK, *(name + NEXT for name in own.state_names)]
    try:
        with quiet():
            exported = torch.onnx.export(
                program, (), dynamo=True, input_names=inputs, output_names=outputs, verbose=False
            )
    except Exception as error:  # torch.onnx raises of all kinds
        raise UserError(f"torch.onnx can't export {own.architecture}: {told(error)}") from error
    assert exported is not None
    model: onnx.ModelProto = exported.model_proto
    given = [value.name for value in (*model.graph.input, *model.graph.output)]
    if given != [*inputs, *outputs]:
        raise UserError(
            f"torch.onnx left some of what {own.architecture} takes or returns out; a state has to "
            "be used and changed by forward, or left out of initial_states()"
        )
    for node in model.graph.node:  # torch notes each operator's line, with this machine's paths
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for constant in model.graph.initializer:
        del constant.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    recipe = RECIPES["float"]
    states = zip(own.state_names, own.initial, outputs[1:], strict=True)
    manifest = Manifest(
        architecture=own.architecture,
        precision=recipe.name,
        signal=own.signal,
        tensors=Tensors(TensorSpec(FEATURES, own.features_shape), TensorSpec(MASK, own.mask_shape)),
        states=tuple(
            StateSpec(
                *(name, tuple(initial.shape), "float32", 0.0, 0),
                reset_value=float(initial.flatten()[0]),
                input=name,
                output=output,
            )
            for name, initial, output in states
        ),
        checkpoint=own.describe(),
        recipe={**recipe.describe(), "route": ROUTE},
        tools=tool_versions(TOOLS),
    )
    content = attach_manifest(model.SerializeToString(deterministic=True), manifest)
    samples = speech(own.signal.sample_rate)
    expected = enhanced(own, own.signal, samples)
    prove(content, samples, expected, rounded=False, engine="onnxruntime")
    return content
