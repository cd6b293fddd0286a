"""Retired words are gone from what is shown: pages, help of commands, and reports."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import PAGES
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import report
from robustness.commands import main
from robustness.report.glossary import terms
from robustness.report.questions.question import VIEWS
from tests.report.test_attack import built
from tests.support import reports
from tests.support.pages import components, html, run
from tests.support.synthetic_results import squares_run
from tests.ui.test_evaluation_results import page as results_page

RETIRED = {
    r"pictures?": "image",
    r"answers?|answered": "prediction",
    r"(keeps?|keeping) (its|their|the|an) (answers?|predictions?)": "prediction unchanged",
    r"clean": "original",
    r"(not |un)?established": "significant",
    r"strangers?": "unrelated image",
    r"departs?": "diverges",
    r"(in )?brackets": "parentheses",
    r"unsure": "low confidence",
    r"come along": "bundled",
    r"got (right|wrong)|gets? (right|wrong)": "correct, incorrect",
}
"""Words that pages, reports and commands no longer show (patterns), and the term for each."""

SHOWN = ("markdown", "caption", "info", "warning", "error", "success", "title", "header")
CONTROLS = ("button", "selectbox", "multiselect", "checkbox", "toggle", "text_input")
MORE = ("number_input", "segmented_control", "file_uploader", "expander", "subheader")
CODE = re.compile(r"<(style|script|pre|code)\b.*?</\1>|<[^>]*>|`[^`]*`", re.DOTALL)
NAMES = re.compile(r"--[\w-]+|\S*[_/=]\S*|\b[A-Z]{2,}\S*")
"""Options, paths and names, which are no prose."""


def found(text: str) -> dict[str, str]:
    """The retired words in ``text``, each with what stands around it."""
    prose = NAMES.sub(" ", CODE.sub(" ", text))
    return {
        word: prose[max(0, match.start() - 40) : match.end() + 40]
        for word in RETIRED
        if (match := re.search(rf"\b(?:{word})\b", prose, re.IGNORECASE))
    }


def said(app: AppTest) -> Iterator[str]:
    """All texts of a page that a visitor reads or is told when pointing."""
    yield html(app)
    for kind in SHOWN:
        yield from (str(element.value) for element in app.get(kind) if hasattr(element, "value"))
    for kind in (*CONTROLS, *MORE):
        for element in app.get(kind):
            proto = element.proto
            yield from (str(getattr(proto, name, "")) for name in ("label", "help", "placeholder"))
            yield from (str(option) for option in getattr(proto, "options", ()))
    yield from (head["text"] for head, _ in components(app, "pair"))


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """The help of ``parser`` and of each command in it."""
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def test_each_retired_word_has_a_term_in_its_place() -> None:
    assert all(term and not found(term) for term in RETIRED.values())
    assert not [found(f"{term}. {meaning}") for term, meaning in terms() if found(meaning)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_opens_on_its_own_and_shows_no_retired_word(page: Path) -> None:
    app = run(page, models="SqueezeNet", sample="coffee", perturbation="Rotation", steps_pgd="1")
    assert not app.error
    assert app.title[0].value
    assert found("\n".join(said(app))) == {}


def test_no_results_of_a_run_show_a_retired_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for labelled in (True, False):
        (folder := tmp_path / f"labels-{labelled}").mkdir()
        for view in VIEWS:
            app = results_page(squares_run(labelled=labelled), folder, monkeypatch, view=view)
            assert not app.exception
            assert found("\n".join(said(app))) == {}


def test_no_command_explains_itself_with_a_retired_word() -> None:
    assert {prog: words for prog, text in commands(main._parser()) if (words := found(text))} == {}


@pytest.mark.parametrize("kind", ["scorecard", "live", "swept", "attack", "run"])
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
        assert found(made) == {}
