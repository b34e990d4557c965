"""What a bundle may hold, and how it is compared with its checksums."""

import pytest

from targets.board.installer.bundle import verify
from targets.board.installer.errors import RefusedError
from tests.helpers.releases import bundle_files, checksums, write_bundle

WHOLE = {name: data for name, data in bundle_files("m9.tflite").items() if name != "SHA256SUMS"}
BAD_LISTS = {
    "empty": b"",
    "twice": checksums(WHOLE) + checksums({"model.tflite": b"other"}),
    "climbing": checksums({**WHOLE, "../x": b""}),
    "absolute": checksums({**WHOLE, "/etc/passwd": b""}),
    "one missing": checksums({k: v for k, v in WHOLE.items() if k != "bundle.json"}),
    "no model": checksums({k: v for k, v in WHOLE.items() if k != "model.tflite"}),
    "two models": checksums({**WHOLE, "model.so": b""}),
    "no list": b"\xff\xfe\0",
    "a comment": b"# x\n" + checksums(WHOLE),
    "short": checksums(WHOLE)[5:],
}


@pytest.mark.parametrize("text", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_bad_list_of_checksums_is_refused(tmp_path, text):
    bundle = write_bundle(tmp_path / "bundle", "m9.tflite")
    (bundle / "SHA256SUMS").write_bytes(text)

    with pytest.raises(RefusedError, match="SHA256SUMS"):
        verify(bundle)


@pytest.mark.parametrize("name", ["more.txt", "wheels/x.whl", ".hidden", "sub/folder/file"])
def test_a_file_that_is_not_listed_is_refused(tmp_path, name):
    bundle = write_bundle(tmp_path / "bundle", "m9.tflite")
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("x")

    with pytest.raises(RefusedError, match="is not in the bundle's SHA256SUMS"):
        verify(bundle)
