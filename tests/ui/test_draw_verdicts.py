"""One case has one sign, one word and one colour, wherever a prediction is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_runs import ESPRESSO, TABBY, measurement, pictures, saved
from robustness import models, report
from robustness.images.framing import Framing
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request
from robustness.report.blocks import Map, Titled
from robustness.report.tables import Mark, judged
from robustness.report.threshold import ThresholdInUse
from robustness.ui import draw
from robustness.ui.live.held import answer_cards
from robustness.ui.live.request import LiveRequest
from tests.support import pages

FLIP = Condition.of({"vertical_flip": 1.0})
CASES: Mapping[str, tuple[bool, bool | None]] = {
    "SqueezeNet": (True, True),
    "EfficientNetLite0": (False, True),
    "EfficientNetLite1": (True, False),
    "EfficientNetLite2": (False, False),
    "VGG16": (True, None),
    "ResNet50": (False, None),
}
"""By model: whether its prediction is unchanged, and whether it is correct."""

EXPECTED = {name: judged(*case) for name, case in CASES.items()}
SIGNS = {told.sign for told in EXPECTED.values()}
PICTURE = pages.sample("coffee")


def row(name: str) -> Measurement:
    """The made-up measurement of a model."""
    stays, correct = CASES[name]
    label = None if correct is None else (ESPRESSO if stays else TABBY) if correct else 7
    made = measurement("coffee", PICTURE.digest, name, FLIP, stays)
    return replace(made, label=label)


ROWS = [row(name) for name in CASES]
SPEC = Request(
    tuple((name, "sha256:0") for name in CASES),
    (FLIP,),
    tuple((name, Framing()) for name in CASES),
    seed=3,
)


def by_model(texts: Sequence[str]) -> dict[str, str]:
    return dict(zip(CASES, texts, strict=True))


def cards() -> dict[str, str]:
    return by_model([draw.card(made) for made in ROWS])


def live_rows() -> dict[str, str]:
    asked = LiveRequest(PICTURE, FLIP, tuple(CASES), 3)
    rows = answer_cards(asked, {made.model: made for made in ROWS}).rows
    shown = re.sub('title="[^"]*"', "", rows)
    return by_model(re.findall("<li>.*?</li>", shown, re.DOTALL))


def study_map() -> dict[str, str]:
    (made,) = report.of_map(SPEC, [PICTURE], ROWS).sections[0].printed
    assert isinstance(made, Map)
    (row,) = made.drawing.rows
    tiles = [strip.tiles[0] for strip in row.strips if strip]
    assert [tile.tone > 0 for tile in tiles] == [told.good for told in EXPECTED.values()]
    return by_model([tile.text for tile in tiles])


def report_rows() -> dict[str, str]:
    """By model, its rows in the tables of a report."""
    made = report.of_live(SPEC, PICTURE, ROWS)
    blocks = [*made.brief, *(block for section in made.sections for block in section.blocks)]
    tables = [block.table for block in blocks if isinstance(block, Titled)]
    rows = [" ".join(row) for table in tables for row in table.rows]
    return {
        name: "\n".join(row for row in rows if models.label(name) in row and SIGNS & set(row))
        for name in CASES
    }


SURFACES: Mapping[str, Callable[[], dict[str, str]]] = {
    "cards of Live and Adversarial": cards,
    "rows of Live": live_rows,
    "map of the study": study_map,
    "report of Live": report_rows,
}
"""Pages and commands show the blocks of a report, or take these."""

BRIEF = "map of the study"
"""Its narrow cells say correct and incorrect by the sign alone."""


def check(told: Mark, text: str, *, brief: bool = False) -> None:
    """That ``text`` says what ``told`` says, in its colour, and nothing else."""
    said = re.sub("<[^>]*>", " ", text)
    assert set(said) & SIGNS == {told.sign}
    words = set(re.findall(r"(?<!\w)(correct|incorrect|changed|unchanged)\b", said))
    assert words == set(re.split("[, ]+", told.text)) - {"now"} - (
        {"correct", "incorrect"} if brief and "now" not in told.text else set()
    )
    tones = set(re.findall(r"rb-(correct|incorrect|changed|unchanged|unsure)\b", text))
    assert tones <= {told.tone}


@pytest.mark.parametrize("surface", SURFACES)
def test_a_case_has_one_sign_word_and_colour(surface: str) -> None:
    for name, text in SURFACES[surface]().items():
        check(EXPECTED[name], text, brief=surface == BRIEF)


def test_a_prediction_below_the_safe_threshold_would_be_rejected() -> None:
    picture, name = pages.sample("coffee"), "SqueezeNet"
    request = LiveRequest(picture, FLIP, (name,), seed=0)
    made = replace(row(name), top5_probabilities=(0.6, 0.3, 0.05, 0.03, 0.02))
    threshold = ThresholdInUse(
        weights=models.digest(models.REGISTRY[name]),
        framing=Framing(),
        score="probability",
        threshold=0.6,
        max_error=0.05,
        promise="suite",
        error="wrong",
        conditions=("fog=0.6",),
        run="some",
    )

    def accepted(threshold: ThresholdInUse) -> Mark:
        return with_it(threshold).acceptances({name: made})[name].mark

    def with_it(threshold: ThresholdInUse) -> LiveRequest:
        return request._replace(thresholds={name: threshold})

    assert accepted(threshold) == EXPECTED[name]
    margin = replace(threshold, score="margin")
    assert accepted(margin).tone == "rejected"
    assert accepted(margin).good  # it is correct all the same
    assert "rejected" in str(answer_cards(with_it(margin), {name: made}).headline)
    said = with_it(margin).acceptances({name: made})[name].text
    assert "not tested under Vertical flip" in said
    stale = replace(margin, framing=Framing("crop", 240))
    assert accepted(stale) == EXPECTED[name]


def test_a_threshold_in_use_is_of_the_session_that_chose_it_and_says_its_run(
    runs_folder: Path, tmp_path: Path
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(60)])
    for name in ("made", "other"):
        source = tmp_path / "set"
        saved(runs_folder / name, digests, {"SqueezeNet": 1.0}, source=source, labelled=False)
    link = {"sample": "coffee", "models": "SqueezeNet", "fog": "0.2"}
    app = pages.run(ROOT / "app.py", **link)
    assert "safe threshold" not in pages.html(app)

    def open_page(page: str, **query: str) -> None:
        app.switch_page(page)
        app.query_params.clear()
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception

    open_page("pages/evaluations.py", run="made", view="fix", max_error="20")
    app.button(key="accept from").click().run()
    open_page("app.py", **link)
    assert "safe threshold" in pages.html(app)
    assert "run made" in pages.texts(app)
    elsewhere = pages.run(ROOT / "app.py", **link)
    assert "safe threshold" not in pages.html(elsewhere), "another browser did not ask for it"
    for run, used in (("made", True), ("other", False)):
        open_page("app.py", models="SqueezeNet", fog="0.2", run=run, image="3.png")
        assert ("safe threshold" in pages.html(app)) is used
    app.button(key="stop using thresholds").click().run()
    open_page("app.py", **link)
    assert "safe threshold" not in pages.html(app)
    assert "run made" not in pages.texts(app)
