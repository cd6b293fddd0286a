"""One case has one sign, one word and one colour, wherever a prediction is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robustness import models, report
from robustness.attacks.attack_image import Transfer
from robustness.attacks.curves import Point
from robustness.charts import attacks, scorecard, sweep, tables
from robustness.charts.verdict import Mark, judged
from robustness.commands.main import main
from robustness.evaluation.condition import AttackCondition, Condition
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request
from robustness.pictures.picture import Picture
from robustness.pictures.samples import sample_path
from robustness.report.content import Cases, Titled
from robustness.ui.live.request import LiveRequest, answer_cards
from robustness.ui.shown import results
from tests.report.test_attack import ATTACK, outcome
from tests.support import pages
from tests.support.made_up_results import MadeUp
from tests.support.made_up_saved_runs import ESPRESSO, TABBY, measurement
from tests.support.reports import broken

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
FRAME = pd.DataFrame([made.as_row() for made in ROWS])
SPEC = Request(tuple((name, "sha256:0") for name in CASES), (FLIP,), seed=3)


def transferred() -> list[Transfer]:
    return [
        Transfer(
            source="DenseNet121",
            model=made.model,
            success=not made.consistent,
            clean_top1=made.clean_top1,
            clean_probability=made.clean_probability,
            top1=made.top1,
            probability=made.probability,
            retained_probability=made.retained_probability,
            label=made.label,
        )
        for made in ROWS
    ]


def by_model(texts: Sequence[str]) -> dict[str, str]:
    return dict(zip(CASES, texts, strict=True))


def cards() -> dict[str, str]:
    return by_model([results.card(made) for made in ROWS])


def live_lines() -> dict[str, str]:
    asked = LiveRequest(PICTURE, FLIP, tuple(CASES), 3)
    lines = answer_cards(asked, {made.model: made for made in ROWS}).verdicts
    return by_model(re.findall("<li>.*?</li>", lines, re.DOTALL))


def scorecard_grid() -> dict[str, str]:
    (grid,) = scorecard.outcomes(FRAME).data
    assert [bool(value) for value in grid.z[0]] == [told.good for told in EXPECTED.values()]
    return by_model([text.replace("<br>", " ") for text in grid.text[0]])


def breaking_grid() -> dict[str, str]:
    entries = [
        replace(
            broken(made.model, None if made.consistent else 1.0, None, None),
            perturbation="vertical_flip",
            clean_top1=made.clean_top1,
            top1=None if made.consistent else made.top1,
            label=made.label,
        )
        for made in ROWS
    ]
    for told, entry in zip(EXPECTED.values(), tables.breaking(entries).rows, strict=True):
        assert not SIGNS & set("".join(entry)) - {told.sign}
    (grid,) = sweep.breaking_table(pd.DataFrame([entry.as_row() for entry in entries])).data
    assert [value > 0 for value in grid.z[0]] == [told.good for told in EXPECTED.values()]
    return by_model([text.replace("<br>", " ") for text in grid.text[0]])


def report_texts(made: report.Report) -> dict[str, str]:
    """By model, all that the tables and images of a report say of its prediction."""
    blocks = [block for section in made.sections for block in section.blocks] + [*made.brief]
    said: dict[str, list[str]] = {name: [] for name in CASES}
    for block in blocks:
        lines: list[str] = []
        if isinstance(block, Titled):
            lines = [" ".join(entry) for entry in block.table.rows]
            heads = {models.label(name): name for name in CASES}
            for head, values in zip(
                block.table.head, zip(*block.table.rows, strict=True), strict=True
            ):
                if head in heads:
                    said[heads[head]] += values
        elif isinstance(block, Cases):
            lines = [line for case in block.read() for line in case.lines]
        for name in CASES:
            said[name] += [line for line in lines if models.label(name) in line and _says(line)]
    return {name: "\n".join(lines) for name, lines in said.items()}


def _says(line: str) -> bool:
    return bool(SIGNS & set(line))


def attack_report() -> report.Report:
    asked = replace(SPEC, conditions=(AttackCondition.of_spec(ATTACK),))
    return report.of_attack(asked, PICTURE, outcome(), ROWS, transferred())


def printed_lines(made: report.Report) -> dict[str, str]:
    """By model, its rows in what a command prints."""
    lines = [line for line in report.printed(made).splitlines() if _says(line)]
    starts = {name: f"| {models.label(name)} " for name in CASES}
    return {
        name: "\n".join(line for line in lines if line.startswith(start))
        for name, start in starts.items()
    }


def report_of_attack() -> dict[str, str]:
    texts = report_texts(attack_report())
    (grid,) = attacks.transfer(pd.DataFrame([entry.as_row() for entry in transferred()])).data
    return {
        name: f"{text} {cell}"
        for (name, text), cell in zip(texts.items(), grid.text[0], strict=True)
    }


SURFACES: Mapping[str, Callable[[], dict[str, str]]] = {
    "cards of Live and Adversarial": cards,
    "lines of Live": live_lines,
    "grid of the Scorecard": scorecard_grid,
    "grid of Breaking point": breaking_grid,
    "report of Live": lambda: report_texts(report.of_live(SPEC, PICTURE, ROWS)),
    "report of the Scorecard": lambda: report_texts(report.of_scorecard(SPEC, [PICTURE], ROWS)),
    "report of an attack, and its transfer": report_of_attack,
    "print of an attack": lambda: printed_lines(attack_report()),
}


BRIEF = ("grid of the Scorecard", "grid of Breaking point")
"""Their narrow cells say correct and incorrect by the sign alone."""


def check(told: Mark, text: str, *, brief: bool = False) -> None:
    """That ``text`` says what ``told`` says, in its colour, and nothing else."""
    said = re.sub("<[^>]*>", " ", text)
    assert set(said) & SIGNS == {told.sign}
    words = set(re.findall(r"(?<!\w)(correct|incorrect|changed|unchanged)\b", said))
    assert words == set(told.text.split(", ")) - ({"correct", "incorrect"} if brief else set())
    tones = set(re.findall(r"rb-(correct|incorrect|changed|unchanged|unsure)\b", text))
    assert tones <= {told.tone}


@pytest.mark.parametrize("surface", SURFACES)
def test_a_case_has_one_sign_word_and_colour(surface: str) -> None:
    for name, text in SURFACES[surface]().items():
        check(EXPECTED[name], text, brief=surface in BRIEF)


class Saved(MadeUp):
    """A run of one image."""

    def picture(self, image_id: str) -> Picture:
        return PICTURE


@pytest.mark.parametrize("name", CASES)
def test_the_pages_of_images_say_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Saved(FRAME[FRAME["model"] == name].reset_index(drop=True), (FLIP,))
    monkeypatch.setitem(globals(), "SHOWN", (row(name), run))
    script = tmp_path / "app.py"
    script.write_text(
        "from robustness.ui import scorecard\n"
        "from robustness.ui.dataset import cases\n"
        "from tests.ui import test_verdicts as shown\n"
        "row, run = shown.SHOWN\n"
        "scorecard.show([row], [shown.PICTURE], [shown.FLIP], 3)\n"
        "cases.cell(run, 'a flip', [shown.FLIP.id], row.model)\n"
    )
    app = pages.run(script)
    assert not app.exception
    found = re.findall(
        r'<li><span class="rb-.*?</li>|<div class="rb-case">.*?</span></div>', pages.html(app)
    )
    assert len(found) == 2
    for text in found:
        check(EXPECTED[name], text)


@pytest.mark.parametrize("truth", ["Egyptian cat", "tench", None])
def test_the_command_line_says_the_same(
    truth: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(sample_path("rocket")), "--models", "SqueezeNet", "--under", "vertical_flip=1.0"]
    said = [] if truth is None else ["--true-class", truth]
    assert main(["predict", *asked, *said]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert main(["predict", *asked, *said, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    told = judged(found["consistent"], found["correct"])
    check(told, head.split("SqueezeNet")[1].removesuffix(", low confidence"))


def test_markers_are_open_where_a_prediction_is_not_good() -> None:
    """On every chart of single predictions."""
    points = [
        Point(made.model, "coffee", "pgd", 0.1, not made.consistent, made.top1, 0.5)
        for made in ROWS
    ]
    labelled_points = [replace(p, label=made.label) for p, made in zip(points, ROWS, strict=True)]
    figures = (
        scorecard.movement(FRAME),
        sweep.over_strength(FRAME, "cosine"),
        attacks.over_epsilon(pd.DataFrame([p.as_row() for p in labelled_points]), "linf"),
    )
    for figure in figures:
        filled = [not trace.marker.symbol[0].endswith("-open") for trace in figure.data]
        assert filled == [told.good for told in EXPECTED.values()]
