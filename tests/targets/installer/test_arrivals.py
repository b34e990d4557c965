"""Bundles that arrive, whole or cut, from friends and others."""

import argparse
import gzip
import os
import sys
import tarfile
from pathlib import Path

import pytest

from targets.board.installer import arrivals
from targets.board.installer.bundle import verify
from targets.board.installer.errors import RefusedError
from tests.helpers.releases import bundle_files, pack


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def huge() -> bytes:
    header = member("edge-se-bundle/model.tflite", size=7 << 30).tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(header)


def negative() -> bytes:
    header = bytearray(member("edge-se-bundle/model.tflite").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    return gzip.compress(bytes(header))


FILES = bundle_files("m9.tflite")


HOSTILE = {
    "climbing": pack({}, member("edge-se-bundle/../../escaped")),
    "climbing deep": pack({}, member("edge-se-bundle/wheels/../../../escaped")),
    "absolute": pack({}, member("/tmp/escaped")),
    "absolute inside": pack({}, member("edge-se-bundle//tmp/escaped")),
    "other folder": pack({}, member("escaped")),
    "dots": pack({}, member("edge-se-bundle/..")),
    "hidden": pack({}, member("edge-se-bundle/.bashrc")),
    "link": pack({}, member("edge-se-bundle/model.tflite", tarfile.SYMTYPE, linkname="/etc")),
    "hard link": pack({}, member("edge-se-bundle/a", tarfile.LNKTYPE, linkname="/etc/passwd")),
    "device": pack({}, member("edge-se-bundle/a", tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "pipe": pack({}, member("edge-se-bundle/a", tarfile.FIFOTYPE)),
    "folder": pack({}, member("edge-se-bundle/wheels", tarfile.DIRTYPE)),
    "long name": pack({}, member("edge-se-bundle/" + "a" * 80, tarfile.GNUTYPE_LONGNAME)),
    "pax header": pack({}, member("edge-se-bundle/a", tarfile.XHDTYPE)),
    "sparse": pack({}, member("edge-se-bundle/a", tarfile.GNUTYPE_SPARSE)),
    "twice": pack(FILES, member("edge-se-bundle/model.tflite")),
    "control characters": pack({}, member("edge-se-bundle/\x1b[31mred")),
    "not UTF-8": pack({}, member("edge-se-bundle/\udcff")),
    "huge": huge(),
    "negative size": negative(),
    "followed": pack(FILES, tail=b"something"),
    "no tar": gzip.compress(b"x" * 5000),
    "no gzip": b"x" * 5000,
    "nothing": b"",
    "cut": pack(FILES)[:-40],
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_writes_nothing_elsewhere(tmp_path, data):
    incoming = tmp_path / "board" / "incoming"
    incoming.mkdir(parents=True)
    path = incoming / "b.tar.gz"
    path.write_bytes(data)

    with pytest.raises(RefusedError, match="is no whole edge-se bundle") as caught:
        arrivals.unpack(path)

    assert str(caught.value).isprintable()
    outside = {path for path in tmp_path.rglob("*") if incoming / "unpacked" not in path.parents}
    assert outside == {incoming.parent, incoming, path, incoming / "unpacked"}
    assert not Path("/tmp/escaped").exists()


def test_a_bundle_of_plain_files_is_unpacked(tmp_path):
    (tmp_path / "b.tar.gz").write_bytes(pack(FILES))

    bundle = arrivals.unpack(tmp_path / "b.tar.gz")

    verify(bundle)
    assert {path.name for path in bundle.iterdir()} == {*FILES, "wheels"}


def test_a_sender_that_is_cut_off_is_given_up_and_what_it_sent_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(arrivals, "SILENT_S", 1)
    read, write = os.pipe()
    os.write(write, b"first")
    archive = tmp_path / "incoming" / "bundle.tar.gz"
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        monkeypatch.setattr(sys, "stdin", argparse.Namespace(buffer=pipe))
        with pytest.raises(RefusedError, match="nothing came for 1 s"):
            arrivals.receive(archive, 0, 1000)

    assert archive.read_bytes() == b"first"
