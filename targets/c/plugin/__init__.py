"""An engine as a plugin of audio programs: LADSPA or LV2, with a file for PipeWire's filter chain.

The C files of this folder are the same for every engine; they find its sources under the prefix
`engine`, and names in a header that is written here.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template

from quant.c.engine import Engine
from targets.c.generate import frame_sources, weights_sources
from targets.engines import compiled

ROOM = Path(__file__).parent
KINDS = ("ladspa", "lv2")
# Of the folder that an LV2 plugin is, beside others of its kind.
BUNDLE = ".lv2"
ENGINE = "engine"
LICENSE = "MIT", "https://opensource.org/license/mit"
# LADSPA's hosts may tell plugins apart by a number of 24 bits, whose lowest are for trials.
FIRST_ID, IDS = 4096, 2**24 - 4096
# Unrolled loops make an int8 plugin a fifth larger and hardly faster. What hosts do not ask for
# would be found by other plugins that are loaded into the same program.
OPTIONS = ("-O2", "-fvisibility=hidden")


def plugin_sources(engine: Engine, name: str, source: str) -> dict[str, str]:
    """C sources, by file name, of a plugin of either kind.

    Args:
        engine: What it runs.
        name: By which programs know it.
        source: What the engine was made from, for comments.
    """
    own = {path.name: path.read_text(encoding="utf-8") for path in ROOM.glob("*.[ch]")}
    of_engine = frame_sources(engine, ENGINE) | weights_sources(engine, source, ENGINE)
    return own | of_engine | {"plugin_names.h": _names(engine, name)}


def plugin_files(
    kind: str,
    engine: Engine,
    name: str,
    source: str,
    compiler: Sequence[str],
    folder: Path | None,
) -> dict[str, bytes]:
    """The files of a plugin by their paths, the one that makes programs find it last.

    Args:
        kind: One of `KINDS`.
        engine: What it runs.
        name: By which programs know it, and of its files.
        source: What the engine was made from, for comments.
        compiler: Command of the C compiler.
        folder: Where it will be, for PipeWire; None for where plugins are looked for.

    Raises:
        UserError: The compiler failed.
    """
    sources = plugin_sources(engine, name, source)
    mains = [f"{kind}.c", f"{ENGINE}.c", f"{ENGINE}_weights.c"]
    library = compiled(sources, mains, compiler, OPTIONS)
    names = {
        "kind": kind,
        "name": name,
        "uri": _uri(name),
        "title": _title(engine),
        "license": LICENSE[1],
    }
    if kind == "ladspa":
        place = name if folder is None else str(folder.resolve() / f"{name}.so")
        controls = '"Max attenuation (dB)" = 100 "Mix" = 0 "Bypass" = 0'
        beside = {}
    else:
        place = _uri(name)
        controls = '"max_attenuation" = 100 "mix" = 0 "enabled" = 1'
        beside = {
            f"{name}.ttl": _filled("plugin.ttl", names),
            "manifest.ttl": _filled("manifest.ttl", names),
        }
    in_graph = names | {"plugin": json.dumps(place, ensure_ascii=False), "controls": controls}
    files = {f"{name}.so": library, f"{name}.conf": _filled("pipewire.conf", in_graph)} | beside
    return files if kind == "ladspa" else {f"{name}{BUNDLE}/{k}": v for k, v in files.items()}


def _filled(template: str, names: dict[str, str]) -> bytes:
    return Template((ROOM / template).read_text(encoding="utf-8")).substitute(names).encode()


def _names(engine: Engine, name: str) -> str:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return f"""\
/* What tells this plugin from others. Written by edge-se compile; do not edit. */

#ifndef PLUGIN_NAMES_H
#define PLUGIN_NAMES_H

#include <stdint.h>

#define PLUGIN_NAME "{name}"
#define PLUGIN_TITLE "{_title(engine)}"
#define PLUGIN_LICENSE "{LICENSE[0]}"
#define PLUGIN_URI "{_uri(name)}"
#define PLUGIN_ID {FIRST_ID + number % IDS}

typedef {engine.samples} engine_sample;
#define INTEGER_SAMPLES {int(engine.samples != "float")}

#endif
"""


def _title(engine: Engine) -> str:
    return f"Speech enhancement ({engine.network}, {engine.arithmetic})"


def _uri(name: str) -> str:
    return f"urn:edge-se:{name}"
