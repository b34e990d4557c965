"""C sources of an engine: a header, the frame, what they include, and weights as a table."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edge_se.core
from edge_se.engines.generated import API_VERSION
from quant.c.engine import Engine
from quant.c.engines import make_engine
from quant.c.source import WIDTH, indented
from quant.networks.checkpoint import Checkpoint
from quant.ptq.pipeline import Progress
from targets.c.lean import late_margins, packed

CORE = Path(edge_se.core.__file__).parent
# How the sources are compiled; ISO C would not let multiplications and additions be fused.
FLAGS = ("-std=c99", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")


@dataclass(frozen=True)
class Variant:
    """How a frame goes about memory.

    Attributes:
        lean: For little of it: all states share the frame's, which is not on the stack then.
        by_output: Of a lean one: its weights lie by output.
        restores: The network's states are kept while a knock lasts and restored after it, as the
            level is, which takes as much memory again.
    """

    lean: bool = False
    by_output: bool = False
    restores: bool = True


USUAL = Variant()


def generate(
    checkpoint: Checkpoint,
    arithmetic: str = "float",
    prefix: str = "gtcrn",
    noisy: Sequence[np.ndarray] | None = None,
    progress: Progress = lambda stage, done, total: None,
    keep_level: bool = False,
) -> dict[str, str]:
    """C sources, by file name, of an engine and a network's weights.

    `{prefix}.c` is the engine, the same for every checkpoint of a network; `{prefix}_weights.c` are
    the weights, which are loaded into it.

    Args:
        checkpoint: the network.
        arithmetic: "float", or "fixed" for one in integers, calibrated as `quantize` calibrates.
        prefix: of files, functions and types.
        noisy: what the others than "float" are calibrated with, float32 [n] each; None for the
            embedded clips.
        progress: told how far each stage of the calibration is.
        keep_level: leave out the front end.

    Raises:
        UserError: No engine can be generated for this network.
    """
    engine = make_engine(checkpoint, arithmetic, noisy, progress, keep_level)
    return frame_sources(engine, prefix) | weights_sources(engine, checkpoint.name, prefix)


def frame_sources(engine: Engine, prefix: str, variant: Variant = USUAL) -> dict[str, str]:
    """C sources, by file name, of an engine: a header, the frame, and what they include.

    Args:
        engine: whose frame it is.
        prefix: of files, functions and types.
        variant: of the frame.
    """
    files = {
        f"{prefix}.h": _header(engine, prefix, variant),
        f"{prefix}.c": _frame(engine, prefix, variant),
    }
    headers = (*engine.included, *engine.included_by_these)
    return files | {name: (CORE / name).read_text(encoding="utf-8") for name in headers}


def weights_sources(
    engine: Engine, checkpoint: str, prefix: str, variant: Variant = USUAL
) -> dict[str, str]:
    """C sources, by file name, of a checkpoint's weights as a constant table.

    Args:
        engine: that has them.
        checkpoint: what they are from.
        prefix: of files and names.
        variant: of the frame that loads them, and of no other.
    """
    p = prefix
    blob = engine.lean_blob(variant.by_output) if variant.lean else engine.blob
    numbers = textwrap.fill(", ".join(map(str, blob)), WIDTH).replace(", ", ",")
    header = f"""\
/* The weights of {checkpoint}, for {p}_load. */

#ifndef {p.upper()}_WEIGHTS_H
#define {p.upper()}_WEIGHTS_H

#ifdef __cplusplus
extern "C" {{
#endif

#define {p.upper()}_SAMPLE_RATE {engine.signal.sample_rate}
#define {p.upper()}_WEIGHTS_SIZE {len(blob)} /* bytes */
extern const unsigned char {p}_weights[{p.upper()}_WEIGHTS_SIZE];

#ifdef __cplusplus
}}
#endif

#endif
"""
    table = f"""\
/* Written by edge-se compile from {checkpoint}; do not edit. */

#include "{p}_weights.h"

#include "compiler.h"

ALIGNED const unsigned char {p}_weights[{p.upper()}_WEIGHTS_SIZE] = {{
{numbers}}};
"""
    return {f"{p}_weights.h": header, f"{p}_weights.c": table}


def _fields(fields: Mapping[str, tuple[str, int]]) -> str:
    return indented(
        [
            f"{kind} {name}[{count}];" if count > 1 else f"{kind} {name};"
            for name, (kind, count) in fields.items()
        ]
    )


def _header(engine: Engine, p: str, variant: Variant) -> str:
    upper, signal = p.upper(), engine.signal
    latency, hop = signal.window - signal.hop, signal.hop
    kind = engine.samples
    unit = "nominally -1 to 1" if kind == "float" else "16 bits"
    kept = {"kept": ("int32_t", engine.memory_words)} if variant.restores else {}
    return f"""\
/* Speech enhancement of mono audio, {hop} samples at a time, in {engine.arithmetic} arithmetic: the
   network {engine.network}. Generated by edge-se compile; do not edit.

   Make memory a state of some weights by {p}_load, then hand every hop to {p}_process;
   output lags input by {latency} samples. A state serves one stream. Nothing is allocated,
   nothing is global. */

#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_HOP {hop}
#define {upper}_LATENCY {latency} /* samples that output lags input */

struct {p}_weights;

typedef struct {p}_state {{
    const struct {p}_weights *weights;
{_fields(engine.state | kept)}
}} {p}_state;

/* Check weights, and make memory a state of them, as after a reset. They have to lie at a multiple
   of 4 bytes, and to stay there; several states may share them. Gives null, or what is wrong with
   the weights in words: such a state gives silence. */
const char *{p}_load({p}_state *state, const void *weights, size_t size);

/* Start anew: forget all samples; the strength stays. */
void {p}_reset({p}_state *state);

/* Limit what is taken away, from the next hop on: no gain is below `least_gain` (0: no limit; 8192,
   a quarter: at most 12 dB), and `dry` of the output is the input (0: none), aligned to the sample.
   Both in steps of 1/32768, from 0 to 32768, and 0 after {p}_load. */
void {p}_set_strength({p}_state *state, int32_t least_gain, int32_t dry);

/* Take in one hop and write one enhanced hop; samples are {unit}. `in` may be `out`. */
void {p}_process({p}_state *state, const {kind} in[{hop}], {kind} out[{hop}]);

/* Probability that the newest frame holds speech, told by what the mask leaves of it, in steps of
   1/32768. */
int32_t {p}_speech_probability(const {p}_state *state);

/* For callers without this header. */
size_t {p}_state_size(void);
int {p}_api_version(void);
int {p}_hop(void);
int {p}_latency(void);
const char *{p}_arithmetic(void); /* "float": float samples; others: int16_t samples */

/* What a state's weights say of themselves, 0 without: samples a second, and the first 32 bits of
   the SHA-256 of the checkpoint's file. */
uint32_t {p}_sample_rate(const {p}_state *state);
uint32_t {p}_checkpoint(const {p}_state *state);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _bounds(engine: Engine, p: str) -> str:
    lines = [
        f"{{offsetof(struct {p}_weights, {name}), {count}, {kind}, {low}, {high}}},"
        for name, count, kind, low, high in engine.weights.bounds
    ]
    return textwrap.indent("\n".join(lines), "    ")


def _frame(engine: Engine, p: str, variant: Variant) -> str:
    upper, lean = p.upper(), variant.lean
    kind, hop = engine.samples, engine.signal.hop
    macros: dict[str, str | int] = {**engine.defined}
    macros |= {name: 1 for name, on in (("LEAN", lean), ("BY_OUTPUT", variant.by_output)) if on}
    defined = "".join(f"#define {name} {value}\n" for name, value in macros.items())
    includes = defined + "\n".join(f'#include "{name}"' for name in engine.included)
    first, second = engine.layout
    return f"""\
/* Generated by edge-se compile for the network {engine.network}; do not edit. */

#include "{p}.h"

{includes}

/* What depends on the checkpoint. Arrays begin at multiples of 16 bytes. */
struct {p}_weights {{
    struct weights_header header;
{_fields(engine.weights.fields)}
}};

typedef char weights_are_packed[sizeof(struct {p}_weights) == {engine.weights.size} ? 1 : -1];

static const uint32_t layout[2] = {{0x{first:08x}u, 0x{second:08x}u}};

static const struct bounds bounds[] = {{
{_bounds(engine, p)}
}};

{engine.source.tables(lean)}

{engine.source.functions}

{_scratch(engine, lean)}

{_keeping(engine, p, variant)}\
void {p}_process({p}_state *s, const {kind} in[{hop}], {kind} out[{hop}])
{{
    {"static union" if lean else "struct"} scratch k;
    const struct {p}_weights *w = s->weights;
    if (!w) {{
        memset(out, 0, sizeof({kind}) * {hop});
        return;
    }}
{indented(late_margins(engine.source.statements)) if lean else engine.source.body}
}}

void {p}_reset({p}_state *s)
{{
    const struct {p}_weights *w = s->weights;
    const int32_t least_gain = s->least_gain, dry = s->dry;
    memset(s, 0, sizeof *s);
    s->weights = w;
    {p}_set_strength(s, least_gain, dry);
    if (!w) return;
{_lines(engine.on_reset)}}}

static int32_t share(int32_t steps)
{{
    return steps < 0 ? 0 : steps > 32768 ? 32768 : steps;
}}

void {p}_set_strength({p}_state *s, int32_t least_gain, int32_t dry)
{{
    s->least_gain = share(least_gain);
    s->dry = share(dry);
}}

int32_t {p}_speech_probability(const {p}_state *s)
{{
    return s->speech;
}}

const char *{p}_load({p}_state *s, const void *weights, size_t size)
{{
    const struct {p}_weights *w = weights;
    const char *fault = weights_fault(weights, size, sizeof *w, layout, bounds,
                                      (int)(sizeof bounds / sizeof *bounds));
    const char *const where = "weights whose bands lie beyond the bins";
    memset(s, 0, sizeof *s);
{_checks(engine)}
    if (fault) return fault;
    s->weights = w;
    {p}_reset(s);
    return 0;
}}

size_t {p}_state_size(void)
{{
    return sizeof({p}_state);
}}

int {p}_api_version(void)
{{
    return {API_VERSION};
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
    return "{engine.arithmetic}";
}}

uint32_t {p}_sample_rate(const {p}_state *s)
{{
    return s->weights ? s->weights->header.sample_rate : 0;
}}

uint32_t {p}_checkpoint(const {p}_state *s)
{{
    return s->weights ? s->weights->header.checkpoint : 0;
}}
"""


def _scratch(engine: Engine, lean: bool) -> str:
    if lean:
        members = packed(engine.scratch, late_margins(engine.source.statements))
        return f"union scratch {{\n{members}\n}};"
    return f"struct scratch {{\n{_fields(engine.scratch)}\n}};"


def _keeping(engine: Engine, p: str, variant: Variant) -> str:
    if not variant.restores:
        return """\
#define keep_states(s) (void)0
#define restore_states(s) (void)0

"""
    return f"""\
/* The network's own states, while a knock lasts. */
static size_t states_size(void)
{{
    return offsetof({p}_state, kept) - offsetof({p}_state, {engine.memory});
}}

typedef char states_fit[{4 * engine.memory_words} >= offsetof({p}_state, kept) -
                                offsetof({p}_state, {engine.memory}) ? 1 : -1];

static void keep_states({p}_state *s)
{{
    memcpy(s->kept, (char *)s + offsetof({p}_state, {engine.memory}), states_size());
}}

static void restore_states({p}_state *s)
{{
    memcpy((char *)s + offsetof({p}_state, {engine.memory}), s->kept, states_size());
}}

"""


def _lines(statements: Sequence[str]) -> str:
    return indented(statements) + "\n" if statements else ""


def _checks(engine: Engine) -> str:
    return indented([f"if (!fault && !({check})) fault = where;" for check in engine.checks])
