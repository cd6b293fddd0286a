"""Retired words are gone from what is shown: pages, help of commands, and reports."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.support.repository import PAGES
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import report
from robustness.commands import main
from robustness.report.methods_and_registry_tables import glossary
from robustness.report.questions.question_and_figures import VIEWS
from tests.report.test_attack import built
from tests.support import reports
from tests.support.pages import run
from tests.support.retired_words import RETIRED, retired, said
from tests.support.synthetic_results import squares_run
from tests.ui.test_evaluation_results import page as results_page


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """The help of ``parser`` and of each command in it."""
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def test_each_retired_word_has_a_term_in_its_place() -> None:
    assert all(term and not retired(term) for term in RETIRED.values())
    assert not [retired(f"{term}. {meaning}") for term, meaning in glossary() if retired(meaning)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_opens_on_its_own_and_shows_no_retired_word(page: Path) -> None:
    app = run(page, models="SqueezeNet", sample="coffee", perturbation="Rotation", steps_pgd="1")
    assert not app.error
    assert app.title[0].value
    assert retired("\n".join(said(app))) == {}


def test_no_results_without_labels_show_a_retired_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with labels: where their views are tested."""
    for view in VIEWS:
        app = results_page(squares_run(labelled=False), tmp_path, monkeypatch, view=view)
        assert not app.exception
        assert retired("\n".join(said(app))) == {}


def test_no_command_explains_itself_with_a_retired_word() -> None:
    assert {
        prog: words for prog, text in commands(main._parser()) if (words := retired(text))
    } == {}


@pytest.mark.parametrize("kind", ["study", "live", "swept", "attack", "run"])
def test_no_report_shows_a_retired_word(kind: str, tmp_path: Path) -> None:
    if kind == "run":
        source = tmp_path / "images"
        digests = pictures(source, [f"espresso/{n}.png" for n in range(6)])
        shares = {"SqueezeNet": 0.4, "EfficientNetLite0": 0.9}
        content = report.of_run(saved(tmp_path / "run", digests, shares, source=source))
    elif kind == "attack":
        content = built()
    else:
        content = getattr(reports, kind)()
    for suffix in (".html", ".md"):
        made = report.rendered(content, report.FORMATS[suffix].write, reports.WHEN).decode()
        assert retired(made) == {}
