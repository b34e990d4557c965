"""What is said of files and installations, without converting anything."""

import pytest

from edge_se.errors import UserError
from quant.modules import export
from quant.modules.step_file import layer_of

TORCH = "torch.nn.modules"
LAYERS = {
    f"net.Net/{TORCH}.conv.Conv2d_conv;3": "conv",
    f"my_net.Net/my_net.Block_2/{TORCH}.rnn.GRU_att_gru;;my_net.Net/my_net.Block_4;1": "2.att_gru",
    f"net.Net/net.Coder_blocks.0/{TORCH}.linear.Linear_fc": "blocks.0.fc",
    "my_net.My_Net;12": "(between layers)",
    "features": "(between layers)",
}


@pytest.mark.parametrize("tensor", LAYERS)
def test_a_tensor_s_layer_is_read_off_its_name(tensor):
    assert layer_of(tensor) == LAYERS[tensor]


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=r'litert-torch and litert-quantizer.*"edge-se\[litert\]"'):
        export.require_litert()
