"""The Catalogue page, without a browser."""

from __future__ import annotations

import pytest

from robustness.perturbations import REGISTRY
from robustness.ui.catalogue import STRENGTHS
from tests.support.pages import changes, html, run
from tests.support.places import ROOT

PAGE = ROOT / "pages" / "catalogue.py"
Link = tuple[str, dict[str, str]]


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """What is linked to: a page opened on its own knows no other, and would draw none of them."""
    found: list[Link] = []
    monkeypatch.setattr(
        "streamlit.page_link",
        lambda page, *, label, icon, query_params: found.append((page, query_params)),
    )
    return found


def test_every_picture_opens_on_the_live_page(links: list[Link]) -> None:
    app = run(PAGE, sample="rocket")
    assert not app.exception
    opened = [link for link in links if link[1].keys() - {"sample"}]
    expected = [
        ("app.py", {"sample": "rocket", record.name: f"{strength:g}" if record.graded else "true"})
        for family in dict.fromkeys(record.family for record in REGISTRY)
        for record in REGISTRY
        if record.family == family
        for strength in (STRENGTHS if record.graded else STRENGTHS[-1:])
    ]
    assert opened == expected


@pytest.mark.parametrize(("name", "strength"), [("fog", 0.4), ("vertical_flip", 1.0)])
def test_a_link_opens_the_picture_that_it_stands_under(
    links: list[Link], monkeypatch: pytest.MonkeyPatch, name: str, strength: float
) -> None:
    run(PAGE, sample="coffee")
    value = f"{strength:g}" if REGISTRY[name].graded else "true"
    (query,) = [query for _, query in links if query.get(name) == value]
    seen = changes(monkeypatch)
    app = run(ROOT / "app.py", **query, models="SqueezeNet")
    assert not app.exception
    assert seen[-1][1].as_dict() == {name: strength}


def test_it_says_what_each_perturbation_stands_for(links: list[Link]) -> None:
    text = html(run(PAGE))
    for record in REGISTRY:
        assert f"stands for {record.risk}" in text
        assert record.value_text(1.0).replace("'", "&#39;") in text or not record.graded


def test_the_catalogue_is_searched_by_everyday_words() -> None:
    app = run(PAGE, search="jpg")
    shown = {header.value for header in app.header}
    assert shown == {record.family for record in REGISTRY if record.matches("jpg")}
    app.text_input(key="search").set_value("no such thing").run()
    assert not app.header
    assert "is found by that" in app.info[0].value
