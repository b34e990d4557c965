"""Tables of quality, of files as a user makes them."""

import json
import sys
from functools import partial

from benchmarks import precisions
from quant import quantize


def test_each_precision_has_a_row_and_the_built_in_file_its_conditions(
    pairs_of_two, tmp_path, monkeypatch
):
    target = tmp_path / "10.json"
    monkeypatch.setattr(precisions, "precisions_of", lambda network: ["float", "int16x8"])
    # Calibrated with the noisy ones alone, which takes a tenth of the time.
    monkeypatch.setattr(precisions, "quantize", partial(quantize, clips=tmp_path / "noisy"))
    monkeypatch.setattr(sys, "argv", ["precisions", *pairs_of_two, "--json", str(target)])

    precisions.main()

    by_precision, by_snr, by_noise = json.loads(target.read_text())["tables"]
    noisy, in_float, *in_16_bits = by_precision["rows"]
    names = [row[0] for row in by_precision["rows"]]
    assert names == ["noisy", "`float`", "`int16x8`", "`int16x8`, `fixed` in C"]
    assert float(noisy[1]) < float(in_float[1]) and in_float[2] == ""
    for row in in_16_bits:
        assert abs(float(row[1]) - float(in_float[1]) - float(row[2].split()[0])) < 2e-3
        assert float(row[5]) > 20
    assert in_16_bits[0][1:6] != in_16_bits[1][1:6]  # as another engine computes it
    assert sum(int(row[1]) for row in by_snr["rows"]) == 2
    assert [row[:2] for row in by_noise["rows"]] == [["unknown", "2"]]
