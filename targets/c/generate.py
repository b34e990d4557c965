"""C sources of an engine for one network: a header, the frame, and the runtime they include."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edge_se.core
from calib_data import clips_folder
from edge_se.errors import UserError
from quant.audio.clips import read_calibration_clips
from quant.graph.encoding import Encoding, Precision, assign_encodings
from quant.graph.graph import Operator, Value
from quant.graph.recipes import find_recipe
from quant.networks.checkpoint import Checkpoint
from quant.ptq.bias_correction import corrected_biases
from quant.ptq.pipeline import Progress, calibrate_checkpoint, find_ranges, noisy_clips
from targets.c.engine import Engine
from targets.c.fixed_engine import FixedEngine
from targets.c.float_engine import FloatEngine
from targets.c.layers import Layer
from targets.c.lowering import lower
from targets.c.source import indented

CORE = Path(edge_se.core.__file__).parent
# Raised whenever the functions of the header change.
API_VERSION = 2
ARITHMETICS = ("float", "fixed")
# Whose ranges the fixed engine's values have.
FIXED_RECIPE = "int16x8"
# How the sources are compiled; ISO C would not let multiplications and additions be fused.
FLAGS = ("-std=c99", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")


@dataclass(frozen=True)
class Description:
    """What a generated engine says of itself.

    Attributes:
        prefix: of its files, functions and types.
        checkpoint: file name of the network's weights.
        sha256: of that file.
    """

    prefix: str
    checkpoint: str
    sha256: str


def generate(
    checkpoint: Checkpoint,
    arithmetic: str = "float",
    prefix: str = "gtcrn",
    noisy: Sequence[np.ndarray] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, str]:
    """C sources, by file name, of an engine for a network: `{prefix}.c` is the one to compile.

    Args:
        checkpoint: the network.
        arithmetic: "float", or "fixed" for one in integers, calibrated as `quantize` calibrates.
        prefix: of files, functions and types.
        noisy: what "fixed" is calibrated with, float32 [n] each; None for the embedded clips.
        progress: told how far each stage of the calibration is.

    Raises:
        UserError: No engine can be generated for this network.
    """
    if arithmetic not in ARITHMETICS:
        raise UserError(
            f"unknown arithmetic {arithmetic!r}; choose one of: {', '.join(ARITHMETICS)}"
        )
    engine: Engine
    signal = checkpoint.signal
    try:
        # What no kernels serve is found before minutes of calibration.
        engine = FloatEngine(lower(checkpoint.step()), signal)
        if arithmetic == "fixed":
            if noisy is None:
                clips = read_calibration_clips(clips_folder(), signal.sample_rate)
                noisy = noisy_clips(clips)
            layers, encodings = calibrated_layers(checkpoint, noisy, progress)
            engine = FixedEngine(layers, signal, encodings)
    except ValueError as error:
        raise UserError(
            f"no {arithmetic} C engine can be generated for this network: {error}; it takes a "
            "GTCRN with windows of 512 samples and 16 channels, as upstream trains it"
        ) from error
    return _files(engine, arithmetic, Description(prefix, checkpoint.name, checkpoint.sha256))


def calibrated_layers(
    checkpoint: Checkpoint, noisy: Sequence[np.ndarray], progress: Progress
) -> tuple[list[Layer], dict[Value, Encoding]]:
    """A network's layers, equalized, biases corrected, and the 16-bit encodings of their values."""
    recipe = find_recipe(FIXED_RECIPE)
    calibrated = calibrate_checkpoint(checkpoint, noisy, recipe, progress)
    ranges = find_ranges(calibrated, recipe)
    graph, means = calibrated.graph, calibrated.statistics.input_means
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)

    def of_weights(operator: Operator) -> Precision:
        # Bands have no biases, by which rounding could be made up for.
        bands = operator.scope.startswith(("merge.", "split."))
        return Precision.FLOAT if bands else recipe.choose(operator)

    with corrected_biases(graph, of_weights, means):
        return lower(graph), encodings


def _files(engine: Engine, arithmetic: str, description: Description) -> dict[str, str]:
    prefix = description.prefix
    files = {
        f"{prefix}.h": _header(engine, arithmetic, description),
        f"{prefix}.c": _frame(engine, arithmetic, description),
    }
    headers = (*engine.included, *engine.included_by_these)
    return files | {name: (CORE / name).read_text(encoding="utf-8") for name in headers}


def _fields(fields: dict[str, tuple[str, int]]) -> str:
    return indented(
        [
            f"{kind} {name}[{count}];" if count > 1 else f"{kind} {name};"
            for name, (kind, count) in fields.items()
        ]
    )


def _header(engine: Engine, arithmetic: str, description: Description) -> str:
    p, upper, signal = description.prefix, description.prefix.upper(), engine.signal
    latency, hop = signal.window - signal.hop, signal.hop
    rate = f"{signal.sample_rate / 1000:g}"
    kind = engine.samples
    unit = "nominally -1 to 1" if kind == "float" else "16 bits"
    return f"""\
/* Speech enhancement of {rate} kHz mono audio, {hop} samples at a time, in {arithmetic} arithmetic.
   Generated by edge-se compile from {description.checkpoint}; do not edit.

   Zero the state by {p}_init, then hand every hop to {p}_process; output lags input by
   {latency} samples. A state serves one stream. Nothing is allocated, nothing is global. */

#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_SAMPLE_RATE {signal.sample_rate}
#define {upper}_HOP {hop}
#define {upper}_LATENCY {latency} /* samples that output lags input */

typedef struct {p}_state {{
{_fields(engine.state)}
}} {p}_state;

/* Make memory a state, as after a reset. */
void {p}_init({p}_state *state);

/* Start anew: forget all samples. */
void {p}_reset({p}_state *state);

/* Take in one hop and write one enhanced hop; samples are {unit}. `in` may be `out`. */
void {p}_process({p}_state *state, const {kind} in[{hop}], {kind} out[{hop}]);

/* For callers without this header. */
size_t {p}_state_size(void);
int {p}_api_version(void);
int {p}_sample_rate(void);
int {p}_hop(void);
int {p}_latency(void);
const char *{p}_arithmetic(void);        /* "float": float samples; "fixed": int16_t samples */
const char *{p}_checkpoint(void);        /* file name of the network's weights */
const char *{p}_checkpoint_sha256(void); /* of that file */

#ifdef __cplusplus
}}
#endif

#endif
"""


def _frame(engine: Engine, arithmetic: str, description: Description) -> str:
    p, upper = description.prefix, description.prefix.upper()
    kind, hop = engine.samples, engine.signal.hop
    includes = "\n".join(f'#include "{name}"' for name in engine.included)
    return f"""\
/* Generated by edge-se compile from {description.checkpoint}; do not edit. */

#include "{p}.h"

{includes}

{engine.source.tables}

{engine.source.functions}

struct scratch {{
{_fields(engine.scratch)}
}};

void {p}_process({p}_state *s, const {kind} in[{hop}], {kind} out[{hop}])
{{
    struct scratch k;
{engine.source.body}
}}

void {p}_reset({p}_state *s)
{{
    memset(s, 0, sizeof *s);
}}

void {p}_init({p}_state *s)
{{
    {p}_reset(s);
}}

size_t {p}_state_size(void)
{{
    return sizeof({p}_state);
}}

int {p}_api_version(void)
{{
    return {API_VERSION};
}}

int {p}_sample_rate(void)
{{
    return {upper}_SAMPLE_RATE;
}}

int {p}_hop(void)
{{
    return {upper}_HOP;
}}

int {p}_latency(void)
{{
    return {upper}_LATENCY;
}}

const char *{p}_arithmetic(void)
{{
    return "{arithmetic}";
}}

const char *{p}_checkpoint(void)
{{
    return "{description.checkpoint}";
}}

const char *{p}_checkpoint_sha256(void)
{{
    return "{description.sha256}";
}}
"""
