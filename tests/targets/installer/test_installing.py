"""From a bundle to a release: all of it or nothing, whatever goes wrong."""

import os
from pathlib import Path

import pytest

from targets.board.installer import cleaning, installing, releases
from targets.board.installer.errors import RefusedError
from tests.helpers.damages import empty
from tests.helpers.releases import ids, write_bundle


def test_a_damaged_release_in_use_is_made_anew_in_its_place(root, quick, tmp_path):
    current = root / "releases" / ids(root)[2]
    empty(current / "report.json")
    bundle = write_bundle(tmp_path / "bundle", "m2.tflite")

    cleaning.clean(root)
    answer = installing.install(root, bundle, 0.5, service=False)

    assert answer["release"]["id"] == current.name
    assert [one["damage"] for one in releases.status(root)["releases"]] == [None] * 3


def test_a_damaged_release_in_use_stays_when_it_can_not_be_made_anew(
    root, quick, tmp_path, monkeypatch
):
    current = root / "releases" / ids(root)[2]
    empty(current / "report.json")
    bundle = write_bundle(tmp_path / "bundle", "m2.tflite")
    monkeypatch.setattr(installing, "benchmark", lambda folder: {"rtf": 9.0})

    with pytest.raises(RefusedError, match="above the limit"):
        installing.install(root, bundle, 0.5, service=False)

    assert (current / "env" / "bin" / "python").is_file()
    assert releases.current(root) == current.name


def test_everything_is_on_the_disk_before_the_link_leads_to_it(root, quick, tmp_path, monkeypatch):
    events: list[tuple[str, str]] = []
    opened: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, Path.replace

    def open_(path, *arguments, **options):
        descriptor = real_open(path, *arguments, **options)
        opened[descriptor] = str(path)
        return descriptor

    def fsync(descriptor):
        events.append(("fsync", opened[descriptor]))
        real_fsync(descriptor)

    def replace(path, target):
        events.append(("replace", str(target)))
        return real_replace(path, target)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    bundle = write_bundle(tmp_path / "bundle", "m3.tflite")

    release = installing.install(root, bundle, 0.5, service=False)["release"]["id"]

    folder = root / "releases" / release
    switched = events.index(("replace", str(root / "current")))
    before = events[:switched]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "report.json"]
    for path in files:
        assert before.index(("fsync", str(path))) < before.index(("fsync", str(path.parent)))
    reported = before.index(("replace", str(folder / "report.json")))
    assert all(before.index(("fsync", str(path))) < reported for path in files)
    assert ("fsync", str(folder / ".report.json")) in before[:reported]
    assert ("fsync", str(folder)) in before[reported:]
    assert ("fsync", str(folder.parent)) in before[reported:]
    assert events[switched + 1] == ("fsync", str(root))


def test_a_full_disk_in_the_middle_leaves_nothing(root, quick, tmp_path, monkeypatch):
    before = releases.status(root)

    def full(folder):
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(installing, "sync_tree", full)
    with pytest.raises(OSError, match="No space left"):
        installing.install(root, write_bundle(tmp_path / "b", "m3.tflite"), 0.5, service=False)

    assert releases.status(root) == before


def test_nothing_is_parsed_before_it_is_verified(root, tmp_path, quick, monkeypatch):
    bundle = write_bundle(tmp_path / "bundle", "m9.tflite")
    (bundle / "bundle.json").write_text("{} ")
    monkeypatch.setattr(installing, "read_json", lambda *_: pytest.fail("parsed before verified"))

    with pytest.raises(RefusedError, match=r"bundle\.json is damaged"):
        installing.install(root, bundle, 0.5, service=False)
