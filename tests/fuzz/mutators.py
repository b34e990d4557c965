"""Ways to damage a file: bytes, numbers in headers, JSON, TOML, and members of archives.

Every function takes a random generator and bytes and gives damaged bytes; the same generator gives
the same damage.
"""

import json
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

Mutator = Callable[[Generator, bytes], bytes]
# Where a number lies in a file, and its format as of `struct`.
Field = tuple[int, str]
FindFields = Callable[[bytes], list[Field]]

EDGE_BYTES = (0, 1, 0x0A, 0x20, 0x7F, 0x80, 0xFE, 0xFF)
EDGE_NUMBERS: tuple[int, ...] = (
    *(0, 1, 2, 3, 7, 8, 16, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31),
    *(2**32 - 8, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1),
)
LONGEST_SPAN = 64


def pick(random: Generator, options: Sequence[Any]) -> Any:
    """One of them."""
    return options[int(random.integers(len(options)))]


def either(*mutators: Mutator) -> Mutator:
    """One of these at a time."""
    return lambda random, data: pick(random, mutators)(random, data)


# Bytes ----------------------------------------------------------------------------------------


def _place(random: Generator, data: bytes) -> int:
    """A position, half the time near the beginning, where headers are."""
    near = min(len(data), 128) if random.random() < 0.5 else len(data)
    return int(random.integers(near)) if data else 0


def _span(random: Generator, data: bytes) -> tuple[int, int]:
    start = _place(random, data)
    return start, start + int(random.integers(1, LONGEST_SPAN))


def flip_bit(random: Generator, data: bytes) -> bytes:
    """One bit."""
    place = _place(random, data)
    return (
        data[:place]
        + bytes(b ^ 1 << random.integers(8) for b in data[place : place + 1])
        + (data[place + 1 :])
    )


def set_byte(random: Generator, data: bytes) -> bytes:
    """One byte to a value at an edge."""
    place = _place(random, data)
    return data[:place] + bytes([pick(random, EDGE_BYTES)]) + data[place + 1 :]


def set_number(random: Generator, data: bytes) -> bytes:
    """A number somewhere, of 2, 4 or 8 bytes, to a value at an edge."""
    return write_field(
        random, data, (_place(random, data), pick(random, "<>") + pick(random, "HIQ"))
    )


def truncate(random: Generator, data: bytes) -> bytes:
    """What comes before some place."""
    return data[: _place(random, data)]


def insert(random: Generator, data: bytes) -> bytes:
    """Random bytes in between."""
    start, end = _span(random, data)
    return data[:start] + random.bytes(end - start) + data[start:]


def duplicate(random: Generator, data: bytes) -> bytes:
    """A span twice."""
    start, end = _span(random, data)
    return data[:end] + data[start:]


def delete(random: Generator, data: bytes) -> bytes:
    """A span left out."""
    start, end = _span(random, data)
    return data[:start] + data[end:]


def splice(random: Generator, data: bytes, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return data[: _place(random, data)] + other[_place(random, other) :]


BYTE_MUTATORS = (flip_bit, set_byte, set_number, truncate, insert, duplicate, delete)


def damage(random: Generator, data: bytes) -> bytes:
    """One to three of the above."""
    for _ in range(int(random.integers(1, 4))):
        data = pick(random, BYTE_MUTATORS)(random, data)
    return data


# Numbers in headers ---------------------------------------------------------------------------


def write_field(random: Generator, data: bytes, field: Field) -> bytes:
    """A number to a value at an edge, or to one near what it was."""
    place, code = field
    size = struct.calcsize(code)
    if place + size > len(data):
        return data
    (value,) = struct.unpack_from(code, data, place)
    near = value + int(random.integers(-2, 3))
    value = (near if random.random() < 0.2 else pick(random, EDGE_NUMBERS)) % 256**size
    return data[:place] + struct.pack(code, value) + data[place + size :]


def fields(find: FindFields) -> Mutator:
    """One or two of the numbers that `find` names."""

    def mutate(random: Generator, data: bytes) -> bytes:
        for _ in range(int(random.integers(1, 3))):
            found = find(data)
            data = write_field(random, data, pick(random, found)) if found else data
        return data

    return mutate


def riff_fields(data: bytes) -> list[Field]:
    """Sizes of a RIFF file's chunks, and what `fmt ` holds."""
    found, place = [(4, "<I")], 12
    while place + 8 <= len(data):
        found.append((place + 4, "<I"))
        (size,) = struct.unpack_from("<I", data, place + 4)
        if data[place : place + 4] == b"fmt ":
            shorts, longs = (8, 10, 20, 22, 24, 26), (12, 16, 28)
            found += [(place + start, "<H") for start in shorts if start < 8 + size]
            found += [(place + start, "<I") for start in longs if start < 8 + size]
        place += 8 + size + size % 2
    return found


def flac_fields(data: bytes) -> list[Field]:
    """STREAMINFO's numbers, and the sizes of metadata blocks."""
    found, place = [(8, ">H"), (10, ">H"), (12, ">H"), (15, ">H"), (18, ">I"), (20, ">H")], 4
    found += [(20, ">Q"), (22, ">I")]  # rate, channels, width and count share bits
    while place + 4 <= len(data):
        found += [(place, "B"), (place + 2, ">H")]
        if data[place] & 0x80:
            break
        place += 4 + int.from_bytes(data[place + 1 : place + 4], "big")
    return found


def zip_fields(data: bytes) -> list[Field]:
    """Flags, methods, sizes, offsets and counts of a ZIP archive's headers."""
    layouts: dict[
        bytes, dict[str, tuple[int, ...]]
    ] = {  # where numbers of 2, 4 and 8 bytes lie behind each mark
        b"PK\x03\x04": {"<H": (4, 6, 8, 26, 28), "<I": (14, 18, 22)},
        b"PK\x01\x02": {"<H": (6, 8, 10, 28, 30, 32, 34), "<I": (16, 20, 24, 42)},
        b"PK\x05\x06": {"<H": (4, 8, 10, 20), "<I": (12, 16)},
        b"PK\x06\x06": {"<Q": (4, 24, 32, 40, 48)},
    }
    return [
        (found.start() + start, code)
        for mark, layout in layouts.items()
        for found in re.finditer(re.escape(mark), data)
        for code, starts in layout.items()
        for start in starts
    ]


def offsets(data: bytes) -> list[Field]:
    """Every aligned number of 4 bytes, as flatbuffers are made of."""
    return [(place, "<I") for place in range(0, len(data) - 3, 4)]


# JSON and TOML --------------------------------------------------------------------------------

# Written as they are into the text, since Python's JSON writer has no way to say most of them.
EDGE_TEXTS = (
    *("null", "true", "[]", "{}", '""', "0", "-1", "1", "2", "1.5", "-0.0", "1e20", "1e400", "NaN"),
    *(
        "Infinity",
        "-Infinity",
        "1e-320",
        "2147483648",
        "9223372036854775808",
        "9" * 400,
        "9" * 5000,
    ),
    *('"\\ud800"', '"\\u0000"', '"../../x"', '"a\\nb"', '"\\u001b[2J"', '"' + "x" * 100_000 + '"'),
    *("[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 20_000, "[0]", '["a"]', '{"a": 1}', "[NaN]"),
)


def json_text(random: Generator, data: bytes) -> bytes:
    """One value of a JSON text replaced, left out or written twice, or its bytes damaged."""
    if random.random() < 0.3:
        return either(damage, re_encode)(random, data)
    content = json.loads(data)
    parent, key = pick(random, _places(content))
    action = int(random.integers(8))
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent[pick(random, ("", "x", "__metadata__", "é" * 50))] = parent.pop(key)
    elif action == 2 and isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[key] = "@edge@"
    text = json.dumps(content, indent=2).replace('"@edge@"', pick(random, EDGE_TEXTS))
    return text.encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every value in a JSON document, as its container and its key there."""
    found: list[tuple[Any, Any]] = []
    keys = content if isinstance(content, dict) else range(len(content))
    for key in keys:
        found.append((content, key))
        if isinstance(content[key], dict | list):
            found += _places(content[key])
    return found


def re_encode(random: Generator, data: bytes) -> bytes:
    """A text in another encoding, or what is none."""
    text = data.decode()
    return pick(
        random,
        (
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            b"\xff" + data,
            data + b"\0",
            b"",
            data * 2,
            data.replace(b"\n", b"\r"),
        ),
    )


EDGE_TOML = (
    *("nan", "-inf", "-1", "1e400", "true", "''", "[]", "{}", "1979-05-27", "0x" + "f" * 5000),
    *("9" * 5000, '"' + "x" * 100_000 + '"', "[" * 20_000, "{a=" * 5000, '"\\u0000"', '"[2J"'),
    *("'('", "'\\1'", "'['", "'(?P<a>'", "'.'", "'" + "(" * 5000 + "'", "'x{99999999999}'"),
    *("'(?#'", "'^$'", "'" + "a|" * 20_000 + "'", '"int8"', "['int8']", "'''", '"\\ud800"'),
)


def toml_text(random: Generator, data: bytes) -> bytes:
    """One value of a TOML text replaced, a line left out or doubled, or its bytes damaged."""
    action = int(random.integers(6))
    if action == 0:
        return either(damage, re_encode)(random, data)
    lines = data.decode().splitlines()
    index = pick(random, [i for i, line in enumerate(lines) if "=" in line])
    if action == 1:
        lines[index : index + 1] = pick(random, ([], [lines[index]] * 2))
    elif action == 2:
        lines[index] = pick(random, ("[[overrides]]", "[a]", "a.b = 1", "x", "[[", "'' = 1"))
    else:
        key = lines[index].partition("=")[0]
        lines[index] = f"{key}= {pick(random, EDGE_TOML)}"
    return ("\n".join(lines) + "\n").encode()


# No device is among them: what writes to one as root may replace it.
EDGE_OPTIONS = (
    *("nan", "inf", "-inf", "-1", "0", "1e20", "1e-320", "1e400", "9" * 5000, "", " ", "-", "--"),
    *(".", "..", "absent", "absent/x", "x" * 250, "x" * 5000, "a/" * 3000, "\udcff", "é\n"),
    *("\x1b[2J", "{}", "%s", "~", "~absent", "-x", "--json", "--help"),
    *("out.wav", "out.json", "out.tflite", "out"),
)


def command_line(random: Generator, data: bytes) -> bytes:
    """One or two values of a command line, written as JSON, replaced or left out."""
    parts = json.loads(data)
    for _ in range(int(random.integers(1, 3))):
        places = [i for i, part in enumerate(parts) if i and not part.startswith("--")]
        if places and random.random() < 0.9:
            parts[pick(random, places)] = pick(random, EDGE_OPTIONS)
        elif len(parts) > 1:
            del parts[int(random.integers(1, len(parts)))]
    return json.dumps(parts).encode()


# Cases ----------------------------------------------------------------------------------------


def generator(kind: str, number: int) -> Generator:
    """The random numbers of one case, the same on every machine."""
    return np.random.default_rng([number, *kind.encode()])


def damaged(
    random: Generator, seeds: dict[str, bytes], mutate: Mutator, number: int
) -> tuple[str, bytes]:
    """Name and content of a case's file; the first cases are the valid files themselves."""
    names = list(seeds)
    if number < len(names):
        return names[number], seeds[names[number]]
    name = pick(random, names)
    if random.random() < 0.05:
        return name, splice(random, seeds[name], seeds[pick(random, names)])
    return name, mutate(random, seeds[name])
