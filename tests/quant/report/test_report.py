"""The report's page and JSON say what was found, and stand alone."""

import base64
import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from quant.evaluation.evaluate import Difference, EvaluationResult, Summary
from quant.evaluation.judge import Loss, Quality, SimulatedQuality
from quant.evaluation.robustness import Case, Robustness
from quant.evaluation.sensitivity import ScopeCost, Sensitivity
from quant.evaluation.stress import KNOCKS, LEVELS_DBFS, Condition, Recovery, Stress
from quant.graph.recipes import RECIPES
from quant.mixed_precision.auto import Candidate, Decision
from quant.mixed_precision.costs import Cost, find_board
from quant.report.collect import Figures, judge_result
from quant.report.page import render, write_report
from tests.helpers.running import nothing_calibrated

METRICS = ("pesq", "stoi", "si_snr_db")


def scores(value: float) -> dict[str, float]:
    return dict.fromkeys(METRICS, value)


def summary(label: str, enhanced: float) -> Summary:
    means = {"noisy": scores(1.2), "reference": scores(1.8), "enhanced": scores(enhanced)}
    return Summary(label, 4, means, dict.fromkeys(METRICS, 4), 17.0)


def result(loss: float, noisy_better: bool = False) -> EvaluationResult:
    overall = summary("all", 1.1 if noisy_better else 1.8 - loss)
    differences = {name: Difference(-loss, -loss - 0.01, -loss + 0.01) for name in METRICS}
    return EvaluationResult((), (summary("0 dB", 1.5), summary("5 dB", 1.9)), overall, differences)


def robustness(loss: float = 0.0, drift_db: float = 0.0) -> Robustness:
    levels = tuple(Case(f"{level} dBFS", level, Loss(loss, 0.02, 8), 15.0) for level in (-45, -10))
    silence = Case("after 3 s of silence", -25.0, Loss(0.0, 0.02, 8), 15.0)
    return Robustness(levels, silence, (15.0, 14.0, 14.0 + drift_db), {"cache": 0.25})


def stress(ms: float | None) -> Stress:
    differences = (-40.0, float("nan"), -2.0)
    recoveries = tuple(Recovery(knock.name, ms, -40.0, differences) for knock in KNOCKS)
    conditions = [
        Condition(f"{level:g} dBFS", level, 5.0, 9.5, Loss(1.25, 0.2, 6)) for level in LEVELS_DBFS
    ]
    return Stress(6, recoveries, tuple(conditions))


def quality(snr_db: float) -> SimulatedQuality:
    return SimulatedQuality(snr_db, snr_db, {"pesq": Loss(0.03, 0.01, 4)}, snr_db)


@pytest.fixture(scope="module")
def facts() -> dict:
    counts = {"float": 900_000, "quantized": 990_000}
    board = {"board": "pi4", "name": "Raspberry Pi 4 Model B", "instructions": counts}
    state = {"name": "cache", "shape": [1, 2], "dtype": "int8", "scale": 0.1, "zero_point": 3}
    recipe = {"name": "int8", "default": "int8", "overrides": []}
    return {
        "board": "pi4",
        "model": {
            **{"architecture": "gtcrn", "checkpoint": "<mine>.tar", "sha256": "0" * 64},
            **{"recipe": recipe, "bytes": 180_000, "float_bytes": 230_000},
            **{"latency_ms": 32.0, "hop_ms": 16.0},
        },
        "operators": [{"operator": "ADD", "precision": "int8", "count": 7}],
        "states": [state],
        "calibration": {"clips": 42},
        "time_here": {name: {"p5_us": 60.0, "p50_us": 65.0} for name in ("float", "quantized")},
        "boards": [{**board, "frame_us": {"float": [1, 2], "quantized": [2, 3]}}],
        "decision": None,
    }


@pytest.fixture(scope="module")
def figures(facts) -> Figures:
    random = np.random.default_rng(0)
    names = ("noisy", "float", "quantized", "difference")
    costs = tuple(
        ScopeCost(name, quality(20.0), quality(50.0), quality(21.0))
        for name in ("all", "encoder.0", "states")
    )
    grade, remarks = judge_result(result(0.004), 20.0, facts, robustness())
    return Figures(
        facts=facts,
        quality=result(0.004),
        levels=(summary("-30 dBFS", 1.7),),
        to_float=quality(20.0),
        robustness=robustness(),
        stress={"quantized": stress(None), "float": stress(250.0)},
        sensitivity=Sensitivity(costs, {"pesq": 1.8}),
        clipping={"decoder.4.skip": 0.0123},
        ranges={"decoder.4.skip": (-1.5, 2.25)},
        signals={name: random.standard_normal(4000).astype(np.float32) for name in names},
        rate=16000,
        grade=grade,
        remarks=remarks,
    )


@pytest.fixture(scope="module")
def rendered(figures) -> str:
    return render(figures)


@dataclass
class Page(HTMLParser):
    """Tags that are open, and what the page refers to."""

    def __post_init__(self):
        super().__init__()
        self.open, self.references = [], []

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(rendered):
    page = Page()

    page.feed(rendered)

    assert page.open == []
    assert len(page.references) == 5
    assert all(source.startswith("data:image/png;base64,") for source in page.references)


def test_pictures_are_pictures(rendered):
    sources = re.findall(r"base64,([^\"]+)", rendered)

    assert all(base64.b64decode(data).startswith(b"\x89PNG") for data in sources)


@pytest.mark.parametrize(
    "text",
    [
        "The result is as good as float",
        "Float takes fewer instructions on Raspberry Pi 4 Model B (by 10%)",
        "decoder.4.skip",
        "-1.5 to 2.25</td><td>1.230%",
        "encoder.0",
        "25.00%",
        "&lt;mine&gt;.tar",
        "square, 0.25 s</td><td>&gt; 13000</td><td>0</td><td>-40.0</td><td>250</td>",
    ],
)
def test_the_page_says(rendered, text):
    assert text in rendered


def test_the_json_holds_the_same(figures, tmp_path):
    write_report(tmp_path / "new", figures)

    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert content["grade"] == "good"
    assert content["quality"]["differences"]["pesq"]["mean"] == -0.004
    assert content["clipping"] == {"decoder.4.skip": 0.0123}
    assert content["sensitivity"]["scopes"][0]["scope"] == "all"
    assert content["stress"]["float"]["recoveries"][0]["differences_db"] == [-40.0, None, -2.0]
    assert (tmp_path / "new" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(("loss", "grade"), [(0.001, "good"), (0.012, "fair"), (0.2, "poor")])
def test_grades_follow_the_loss(facts, loss, grade):
    found, remarks = judge_result(result(loss), 20.0, facts, robustness())

    assert found == grade
    assert ("The result is poor" in remarks[0]) is (grade == "poor")


def test_worse_than_the_noisy_input_is_said(facts):
    grade, remarks = judge_result(result(0.0, noisy_better=True), 20.0, facts, robustness())

    assert grade == "poor"
    assert "worse than the noisy input" in remarks[0]
    assert not any("differs audibly" in remark for remark in remarks)


def test_loss_at_a_level_and_drift_are_said(facts):
    _, remarks = judge_result(result(0.0), 20.0, facts, robustness(loss=0.2, drift_db=-2.0))

    assert any("more than 0.1 PESQ-WB to float at: -45 dBFS" in remark for remark in remarks)
    assert any("It drifts: SNR to float changes by -2.0 dB" in remark for remark in remarks)


def test_a_module_of_one_s_own_has_a_page_without_what_nobody_simulated(facts, figures):
    recipe = facts["model"]["recipe"] | {"route": "litert", "float": {"gru": {"EXP": 2, "LOG": 1}}}
    model = facts["model"] | {"recipe": recipe, "sha256": None}
    to_float = Quality(30.25, 10.0, {})

    changed = {"facts": facts | {"model": model}, "sensitivity": None}
    page = render(replace(figures, **changed, quality=None, to_float=to_float))

    assert "gru</td><td>2 exp, 1 log</td>" in page
    assert "Sensitivity" not in page and "SHA-256" not in page
    assert "<td>output</td><td>30.2</td>" in page
    _, remarks = judge_result(None, 10.0, {**facts, "model": model}, robustness())
    assert "recipe file that leaves layers float" in remarks[0]


@pytest.mark.parametrize(("snr_db", "grade"), [(25.0, "good"), (19.0, "fair"), (10.0, "poor")])
def test_without_clean_speech_the_snr_decides(facts, snr_db, grade):
    found, _ = judge_result(None, snr_db, facts, robustness())

    assert found == grade


def test_the_page_says_what_auto_tried_and_why(figures):
    losses = dict.fromkeys(("pesq", "stoi", "si_snr_db"), Loss(0.03, 0.01, 4))
    near, far = (
        Candidate(
            RECIPES[name],
            nothing_calibrated(),
            {},
            replace(quality(snr_db), losses=losses),
            Cost(cost, {}, 0.0, 0),
            1000,
        )
        for name, snr_db, cost in (("dynamic", 30.0, 9e5), ("int8", 20.0, 8e5))
    )
    board = find_board("pi4")
    decision = Decision(near, (near, far), board, 0.05, Cost(8.5e5, {}, 0.0, 0), 2000)
    facts = figures.facts | {"decision": decision.to_dict()}

    page = render(replace(figures, facts=facts))

    assert "Why dynamic" in page and "900 K" in page and "-0.030 (0.010)" in page
    assert page.count(decision.verdict(near)) == 1
    assert "Float would be faster on this board." in page
