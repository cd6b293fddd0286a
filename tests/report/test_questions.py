"""The laws of the questions about a run, and what a new one has everywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import pytest

from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_rows import rows
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import api, gate, report, runs
from robustness.base.errors import ParameterError
from robustness.base.options import Option
from robustness.cli.main import main
from robustness.images.framing import Framing
from robustness.measure.condition import Condition
from robustness.report import threshold
from robustness.report.blocks import LABELS, Chart, Text, Titled
from robustness.report.choice import CHOICE
from robustness.report.formats import FORMATS, rendered
from robustness.report.run import REGISTRY, Question, RunFigures
from robustness.report.tables import Table
from robustness.report.threshold import THRESHOLD, ThresholdFigures
from robustness.runs import Analysis
from robustness.statistics.grid import grids
from robustness.statistics.threshold import safe_thresholds
from tests.support import pages
from tests.support.pages import html
from tests.support.reports import WHEN

SHARES = {"SqueezeNet": 0.3, "EfficientNetLite0": 0.9}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    folder = tmp_path_factory.mktemp("questions")
    digests = pictures(folder / "set", [f"{number}.png" for number in range(30)])
    conditions = [Condition.of({name: at}) for name in ("fog", "contrast") for at in (0.3, 0.9)]
    return saved(
        folder / "runs" / "made", digests, SHARES, source=folder / "set", conditions=conditions
    )


class DarknessOptions(TypedDict, total=False):
    least_brightness: Annotated[float, Option(0.25, "of the images", label="Least brightness")]


@pytest.fixture
def alone() -> Any:
    """A question that only a test asks, and the end of it."""

    def figures(of: RunFigures) -> list[dict[str, Any]]:
        least = of.options.get("least_brightness", 0.25)
        return [{"model": name, "least": least} for name in of.run.manifest.spec.model_names]

    def blocks(entries: list[dict[str, Any]]) -> list[Titled]:
        rows = [(entry["model"], f"{entry['least']:.2f}") for entry in entries]
        return [Titled("Models in the dark", Table(("Model", "Least"), rows))]

    question = REGISTRY.add(
        Question(
            "darkness",
            "Darkness",
            blocks,
            "what happens at night",
            figures,
            needs=(LABELS,),
            options=DarknessOptions,
            answers=lambda entries: [("Is it dark?", f"{len(entries)} models in the dark.")],
            brief=blocks,
            tables=lambda entries: {"darkness": entries},
            command="failures",
        )
    )
    yield question
    REGISTRY.exchange([question.name], [])


@pytest.mark.parametrize("question", REGISTRY, ids=lambda question: question.name)
def test_a_question_is_complete(question: Question[Any]) -> None:
    assert question.title
    assert all(need.name for need in question.needs)
    for field in question.fields.values():
        assert field.option.label
        assert field.option.meaning
    assert not question.options or question.command, "a command has its options as flags"
    titles = [other.title for other in REGISTRY]
    assert titles.count(question.title) == 1


@pytest.fixture(scope="module")
def whole(run: runs.Run) -> report.Report:
    return report.of_run(run)


@pytest.fixture(scope="module")
def made(whole: report.Report) -> dict[str, str]:
    """The report by suffix."""
    suffixes = (".html", ".json", ".md")
    return {each: rendered(whole, FORMATS[each].write, WHEN).decode() for each in suffixes}


@pytest.mark.parametrize("question", REGISTRY, ids=lambda question: question.name)
def test_every_format_tells_the_same_figures(
    question: Question[Any], run: runs.Run, whole: report.Report, made: dict[str, str]
) -> None:
    of = RunFigures(Analysis(run))
    figures = of.answer(question)
    section = question.section(of)
    assert (section is None) == (question.title not in [s.title for s in whole.sections])
    page, document, card = made[".html"], json.loads(made[".json"]), made[".md"]
    for block in section.printed if section else ():
        if isinstance(block, Titled | Chart):
            caption = block.caption if isinstance(block, Titled) else block.title
            assert caption.replace("'", "&#39;") in page
    for name, entries in question.tables(figures).items():
        assert document[name] == json.loads(json.dumps(entries))
    for block in question.brief(figures) if question.brief else ():
        if isinstance(block, Titled):
            assert block.caption in card
    for asked, sentence in question.answers(figures) if question.answers else ():
        assert (asked, sentence) in whole.answers
        assert sentence in document["answer"]


def test_a_new_question_is_on_report_page_and_command_line(
    alone: Question[Any],
    run: runs.Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = report.of_run(run)
    for suffix in (".html", ".md"):
        assert "Models in the dark" in rendered(whole, FORMATS[suffix].write, WHEN).decode()
    document = json.loads(rendered(whole, FORMATS[".json"].write, WHEN))
    assert [entry["least"] for entry in document["darkness"]] == [0.25, 0.25]
    assert "2 models in the dark." in document["answer"]
    assert main(["failures", str(run.folder), "--least-brightness", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "## Darkness" in printed
    assert "0.50" in printed
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(run.folder.parent))
    app = pages.run(ROOT / "pages" / "evaluations.py", run="made", view="failures")
    assert not app.exception
    assert "2 models in the dark." in pages.texts(app)
    assert "0.25" in html(app)
    box = app.number_input(key="least_brightness")
    box.set_value(0.75).run()
    assert "0.75" in html(app)


def test_a_question_without_what_it_needs_has_no_section(tmp_path: Path) -> None:
    digests = pictures(tmp_path / "set", ["a.png", "b.png"])
    one = {"SqueezeNet": 0.5}
    bare = saved(tmp_path / "bare", digests, one, source=tmp_path / "set", labelled=False)
    of = RunFigures(Analysis(bare))
    lacking = [q for q in REGISTRY if not all(need.met(of) for need in q.needs)]
    assert {q.name for q in lacking} >= {"accuracy", "classes", "trade_offs", "agreement"}
    assert not any(q.section(of) for q in lacking)
    assert report.of_run(bare).sections, "the figures of these questions are computed all the same"


def test_an_option_changes_the_choice_alike_everywhere(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = api.choose(run, min_accuracy=0.99, margin=0.2)
    of = RunFigures(Analysis(run), {"min_accuracy": 0.99, "margin": 0.2})
    assert of.answer(CHOICE).chosen == chosen
    words = ["choose", str(run.folder), "--min-accuracy", "0.99", "--margin", "0.2", "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {entry["model"] for entry in printed.pop("thresholds")} == {*SHARES}
    assert printed == json.loads(json.dumps(chosen.as_dict()))


def test_a_safe_threshold_is_the_same_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = pictures(tmp_path / "set", [f"clip{n % 60}_{n}.png" for n in range(60)])
    shares = {"SqueezeNet": 0.5, "EfficientNetLite0": 1.0}
    made = saved(tmp_path / "made", digests, shares, source=tmp_path / "set", labelled=False)
    found = api.safe_threshold(made, 0.2)
    weak, strong = found["models"]
    assert (weak["threshold"], strong["threshold"]) == (None, 0.0)
    assert strong["accepted"]["suite"] == 1.0
    assert strong["error"]["suite"]["value"] == 0.0
    assert main(["threshold", str(made.folder), "--max-error", "0.2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    of = RunFigures(Analysis(made), {"max_error": 0.2})
    assert of.answer(THRESHOLD).entries == found["models"]
    (chart,) = [b for b in THRESHOLD.blocks(of.answer(THRESHOLD)) if isinstance(b, Chart)]
    assert any(list(trace.y) == [0.0] for trace in chart.figure.data)  # the safe threshold
    attacked = of.answer(THRESHOLD)._replace(conditions=0)
    assert "attacks alone" in threshold.sentence({**weak, "strongest": None, "images": 0}, attacked)
    both = [weak, {**weak, "model": "EfficientNetLite0"}]
    without = THRESHOLD.blocks(of.answer(THRESHOLD)._replace(entries=both))
    said = [block.text for block in without if isinstance(block, Text)]
    assert sum("no threshold" in text.lower() for text in said) == 1, "once for both"
    reasons = next(block for block in without if isinstance(block, Titled))
    assert len(reasons.table.rows) == 2
    (tmp_path / "b.toml").write_text("[[limit]]\nmax_accepted_error = 0.2\nmin_accepted = 0.9\n")
    verdicts = api.check(made, tmp_path / "b.toml").verdicts
    outcomes = {(verdict.model, verdict.limit): verdict.outcome for verdict in verdicts}
    assert outcomes["EfficientNetLite0", "max_accepted_error"] == gate.KEPT
    assert outcomes["EfficientNetLite0", "min_accepted"] == gate.KEPT
    assert outcomes["SqueezeNet", "max_accepted_error"] == gate.BROKEN
    assert "no threshold" in {verdict.figure_text for verdict in verdicts}
    (tmp_path / "near.toml").write_text("[[limit]]\nmax_accepted_error = 0.45\n")
    near, _ = api.check(made, tmp_path / "near.toml").verdicts
    assert near.low is not None
    assert near.value is not None
    assert near.low < 0.45 < near.value
    assert near.outcome == gate.NOT_SHOWN, "the interval holds the limit"
    by_model = threshold.certified(made, of.answer(THRESHOLD))
    name = "EfficientNetLite0"
    assert by_model.pop("SqueezeNet") is None
    in_use = by_model[name]
    assert in_use is not None
    assert (in_use.threshold, in_use.run) == (0.0, made.id)
    digest = dict(made.manifest.spec.models)[name]
    assert not in_use.stale(digest, Framing())
    assert in_use.stale("sha256:0", Framing())
    assert in_use.stale(digest, Framing("squash"))
    again = saved(tmp_path / "again", digests, shares, source=tmp_path / "set", labelled=False)
    first = threshold.notes([made], [name])
    assert threshold.notes([made, again], [name]) == first, "as in JSON, by the first run"
    together = api.safe_threshold(made, 0.2, groups="clip[0-4]")
    assert together["models"][1]["threshold"] is None  # five groups are too few
    for wrong in (0.0, 1.0):
        with pytest.raises(ParameterError):
            api.safe_threshold(made, wrong)
    with pytest.raises(ParameterError):
        api.safe_threshold(made, groups="(")
    with pytest.raises(ParameterError, match="in none of them"):
        api.safe_threshold(made, groups="film")


@pytest.mark.parametrize(("empty", "said"), [([1], "Accept "), ([0, 1], "have no probabilities")])
def test_a_condition_without_probabilities_leaves_a_sentence(empty: list[int], said: str) -> None:
    sure = np.full((120, 2), 0.9)
    sure[:, empty] = np.nan
    made = rows(
        np.ones(sure.shape),
        conditions=[("fog", 0.2), ("fog", 0.4)],
        figures={"probability": sure, "margin": sure},
    )
    entries = safe_thresholds(grids(made), "consistent", 0.05, "condition")
    figures = ThresholdFigures(entries, [], 0.05, "condition", 2, "changed")
    assert said in threshold.sentence(entries[0], figures)


@pytest.mark.parametrize(
    ("tested", "shown", "untested"),
    [
        (["fog=0.4"], "fog=0.4", ""),
        (["fog=0.4"], "fog=0.2", ""),
        (["fog=0.4"], "fog=1.0", "Fog effect 1"),
        (["fog=0.4", "fog=1.0"], "fog=0.7", ""),
        (["vertical_flip=1.0"], "vertical_flip=0.5", ""),
        (["fog=0.4+gaussian_noise=0.6"], "fog=0.4+gaussian_noise=0.6", ""),
        (["fog=0.4+gaussian_noise=0.6"], "fog=0.3", ""),
        (["fog=0.4+gaussian_noise=0.6"], "fog=0.5+gaussian_noise=0.6", "Fog effect 0.5"),
        (["fog=0.4", "gaussian_noise=0.6"], "gaussian_noise=0.2", ""),
        (["fog=0.4"], "fog=0.0", ""),
        (["pgd(epsilon=2/255)", "no such id"], "fog=0.1", "Fog effect 0.1"),
    ],
)
def test_a_threshold_covers_strengths_up_to_the_tested_one(
    tested: Sequence[str], shown: str, untested: str
) -> None:
    assert in_use(tested).untested(Condition.parse(shown)) == untested


def test_a_threshold_covers_no_stack_of_what_was_tested_apart() -> None:
    apart = in_use(["fog=0.4", "gaussian_noise=0.6"])
    said = apart.untested(Condition.parse("fog=0.4+gaussian_noise=0.6"))
    assert {"Fog effect 0.4", "Random noise 0.6"} == set(said.split(" + "))


def in_use(conditions: Sequence[str]) -> threshold.ThresholdInUse:
    """A threshold certified under ``conditions``."""
    return threshold.ThresholdInUse(
        weights="sha256:0",
        framing=Framing(),
        score="probability",
        threshold=0.5,
        max_error=0.05,
        promise="suite",
        error="wrong",
        conditions=tuple(conditions),
        run="some",
    )
