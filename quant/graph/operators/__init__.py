"""Every kind of operator in a file of its own, and the functions that append them to a graph.

Used as `from quant.graph import operators as ops`. A file registers its kind when it is imported
(see `quant.graph.kinds.Kind`), so a new operator is a new file and a line here.
"""

# ruff: noqa: F401 - imported to be found here

from quant.graph.operators.add import add
from quant.graph.operators.bands_in_parts import bands_in_parts
from quant.graph.operators.concat import concat
from quant.graph.operators.convolution import convolution, image_convolution
from quant.graph.operators.depthwise import depthwise_over_history, image_depthwise
from quant.graph.operators.leaky_relu import leaky_relu
from quant.graph.operators.linear import linear
from quant.graph.operators.lstm import bidirectional_lstm
from quant.graph.operators.mean import mean
from quant.graph.operators.multiply import multiply
from quant.graph.operators.pad import pad
from quant.graph.operators.reciprocal_root import reciprocal_root
from quant.graph.operators.reshape import reshape
from quant.graph.operators.resize import resize
from quant.graph.operators.reverse import reverse
from quant.graph.operators.sigmoid import sigmoid
from quant.graph.operators.slice import slice
from quant.graph.operators.split import split
from quant.graph.operators.subtract import subtract
from quant.graph.operators.tanh import tanh
from quant.graph.operators.transpose import transpose
