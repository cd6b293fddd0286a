"""The Reference page."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness import metrics
from robustness.perturbations import REGISTRY
from robustness.perturbations.record import find
from robustness.ui import session
from robustness.ui.reference import STRENGTHS
from tests.support.pages import html, run

PAGE = ROOT / "pages" / "reference.py"
Link = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Shown:
    """The page on the rocket image, and what it links to: a page opened on its own knows no
    other, and would draw none of the links."""

    app: AppTest
    links: list[Link]


@pytest.fixture(scope="module")
def shown() -> Shown:
    found: list[Link] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "connection", lambda: session.Connection("127.0.0.1", {}, {}))
        patch.setattr(
            "streamlit.page_link",
            lambda page, *, label, icon, query_params: found.append((page, query_params)),
        )
        app = run(PAGE, sample="rocket")
    assert not app.exception
    return Shown(app, found)


def test_every_picture_opens_on_the_live_page(shown: Shown) -> None:
    opened = [link for link in shown.links if link[1].keys() - {"sample"}]
    expected = [
        ("app.py", {"sample": "rocket", record.name: f"{strength:g}" if record.graded else "true"})
        for family in dict.fromkeys(record.family for record in REGISTRY)
        for record in REGISTRY
        if record.family == family
        for strength in (STRENGTHS if record.graded else STRENGTHS[-1:])
    ]
    assert opened == expected


def test_an_index_leads_to_every_perturbation(shown: Shown) -> None:
    page = html(shown.app)
    leads = re.findall(r'<a href="#([^"]+)"', page.partition('class="rb-index"')[2])
    assert len(leads) == len(REGISTRY)
    assert sorted(leads) == sorted(re.findall(r'class="rb-facts" id="([^"]+)"', page))


def test_perturbations_are_searched_by_everyday_words() -> None:
    app = run(PAGE, search="jpg")
    shown = {header.value for header in app.header}
    found = find("jpg").records
    assert shown == {record.family for record in found}
    count = len(found)
    assert any(f"{count} of {len(REGISTRY)} perturbations at" in each.value for each in app.caption)
    app.text_input(key="search").set_value("zebra").run()
    assert not app.header
    assert "Try “blur” or “noise”" in app.info[0].value
    assert not any("perturbations at" in each.value for each in app.caption)


def test_the_methods_have_every_metric_and_are_searched() -> None:
    app = run(PAGE, view="methods")
    assert app.header[0].value == "Glossary"
    terms = re.findall(r"<dt>([^<]*)</dt><dd>[^<]+</dd>", html(app))
    assert len(terms) == len(set(terms))
    assert {metric.label for metric in metrics.REGISTRY} <= set(terms)
    app.text_input(key="search").set_value("Clopper interval").run()
    assert [header.value for header in app.header] == ["Datasets", "Sources"]
    app.text_input(key="search").set_value("zebra").run()
    assert not app.header
    assert "No match in the methods" in app.info[0].value
