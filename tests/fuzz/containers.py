"""Damage inside archives and other files with checksums, which are right again afterwards."""

import gzip
import hashlib
import io
import re
import struct
import tarfile
import zipfile
import zlib

from numpy.random import Generator

from edge_se import model_file
from tests.fuzz.mutators import Field, Mutator, damage, either, fields, json_text, pick, write_field

# Of weights for the C engine: bytes of the header, and where what its CRC-32 is of begins.
WEIGHTS_HEADER, CHECKED_FROM = 32, 24

# Ogg ------------------------------------------------------------------------------------------


def ogg_pages(data: bytes) -> list[bytes]:
    """A file's pages, as far as there are any."""
    starts = [found.start() for found in re.finditer(b"OggS", data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def _ogg_table() -> list[int]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return table


_OGG_TABLE = _ogg_table()


def sign_ogg(data: bytes) -> bytes:
    """The same pages with right checksums and one serial number, so that damage gets past them."""
    signed = []
    for page in ogg_pages(data):
        page = page[:14] + b"edge" + page[18:22] + bytes(4) + page[26:]
        crc = 0
        for byte in page:
            crc = (crc << 8 & 0xFFFFFFFF) ^ _OGG_TABLE[crc >> 24 ^ byte]
        signed.append(page[:22] + struct.pack("<I", crc) + page[26:])
    return b"".join(signed)


def signed_ogg(random: Generator, data: bytes) -> bytes:
    """One page damaged, lost or doubled, and all signed again."""
    pages = ogg_pages(data)
    index = int(random.integers(len(pages)))
    page = pages[index]
    pages[index] = pick(
        random,
        (
            b"",
            page + page,
            page[:28] + damage(random, page[28:]),
            write_field(random, page, pick(random, ((5, "B"), (6, "<Q"), (18, "<I"), (26, "B")))),
        ),
    )
    return sign_ogg(b"".join(pages))


# Archives and headers -------------------------------------------------------------------------


def in_zip(member: str, mutate: Mutator) -> Mutator:
    """A member whose name ends so, damaged, in an archive whose checksums are right again.

    What is no archive is damaged as it is.
    """

    def inside(random: Generator, data: bytes) -> bytes:
        if not zipfile.is_zipfile(io.BytesIO(data)):
            return mutate(random, data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        names = [name for name in files if name.endswith(member)]
        name = pick(random, names or list(files))
        files[name] = mutate(random, files[name])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        return buffer.getvalue()

    return inside


def in_model(random: Generator, data: bytes) -> bytes:
    """A model file's manifest, written behind the body as it has to be."""
    body, entries = model_file._parts(data)
    name = model_file.MANIFEST_NAME
    entries[name] = json_text(random, entries[name])
    return body + model_file._kind(body).tail(body, entries)


def in_weights(random: Generator, data: bytes) -> bytes:
    """Weights for the C engine, with right checksums, most of them with a right header."""
    weights = model_file.attached_weights(data)
    name = pick(random, list(weights))
    header, content = weights[name][:WEIGHTS_HEADER], weights[name][WEIGHTS_HEADER:]
    if random.random() < 0.1:
        header = damage(random, header)
    changed = damage(random, content)
    if random.random() < 0.8:
        changed = (changed + content)[: len(content)]
    checked = header[CHECKED_FROM:] + changed
    header = header[: CHECKED_FROM - 4] + struct.pack("<I", zlib.crc32(checked))
    manifest = model_file.manifest_of(data, "the seed")
    return model_file.attach_manifest(data, manifest, weights | {name: header + checked})


def in_safetensors(random: Generator, data: bytes) -> bytes:
    """The header's JSON, with its right length before it."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json_text(random, data[8:end])
    return struct.pack("<Q", len(header)) + header + data[end:]


def in_gzip(random: Generator, data: bytes) -> bytes:
    """What was compressed, damaged, with a right checksum."""
    mutate = either(damage, fields(tar_fields))
    return gzip.compress(mutate(random, gzip.decompress(data)), compresslevel=1, mtime=0)


def tar_fields(data: bytes) -> list[Field]:
    """Bytes of each member's header: type, and digits of size, mode and checksum."""
    starts = [found.start() - 257 for found in re.finditer(b"ustar", data)]
    return [(start + offset, "B") for start in starts for offset in (0, 100, 124, 130, 148, 156)]


FOLDER, SUMS = "edge-se-bundle", "SHA256SUMS"


def pack_bundle(files: dict[str, bytes]) -> bytes:
    """A bundle of these files, with their checksums unless these are given."""
    sums = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    files = {SUMS: "".join(sums).encode(), **files}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0)


def unpack_bundle(data: bytes) -> dict[str, bytes]:
    """A bundle's files, the checksums among them."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None, member.name
            files[member.name.removeprefix(f"{FOLDER}/")] = file.read()
    return files


def in_bundle(random: Generator, data: bytes) -> bytes:
    """One file of a bundle damaged, its checksum usually right again."""
    files = unpack_bundle(data)
    name = pick(random, sorted(files))
    mutate = json_text if name.endswith(".json") else damage
    files[name] = mutate(random, files[name])
    if random.random() < 0.2:
        renamed = pick(random, ("../x", "/tmp/x", "a/../b", "x" * 90, "é", "model.tflite/x", "."))
        files[renamed] = files.pop(name)
    if name != SUMS and random.random() < 0.8:
        files.pop(SUMS, None)
    return pack_bundle(files)
