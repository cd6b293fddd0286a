"""The results of a run over many images as a page, run without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from robustness import models, report, runs
from robustness.report.blocks import Text, Titled
from robustness.runs.selection import SURVIVORS, WORST
from robustness.statistics import TOO_FEW
from robustness.ui.dataset.saved_run import Opened
from tests.support import pages
from tests.support.frames import cases
from tests.support.made_up_results import ESPRESSO, MadeUp, made_up
from tests.support.pages import html


def page(
    run: MadeUp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Sequence[str] | None = None,
    finished: bool = True,
    **query: Any,
) -> AppTest:
    """A page that shows ``run`` with the sections ``opened``, which by default are all.

    It stands where the Live page does, so that links find it.
    """
    status = runs.FINISHED if finished else "unfinished"
    run.manifest = replace(run.manifest, id=tmp_path.name, status=status)
    script = tmp_path / "app.py"
    script.write_text(
        "from robustness.ui.dataset import results\n"
        "from tests.ui import test_dataset_results\n"
        "results.show(test_dataset_results.CURRENT)\n"
    )
    monkeypatch.setitem(globals(), "CURRENT", Opened(run, 0))
    sections = SECTIONS if opened is None else opened
    return pages.run(script, **{f"show_{name}": "true" for name in sections} | query)


SECTIONS = (
    *("trade_offs", "ranking", "perturbations", "over_strength", "accuracy", "classes", "slices"),
    *("changed_classes", "agreement", "safe_threshold", "map", "images", "images_left_out"),
    *("imagenet_c_corruption_error", "what_would_help", "race", "attacks"),
)
Shown = Callable[..., AppTest]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    return lambda run, **query: page(run, tmp_path, monkeypatch, **query)


def charts(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def headings(app: AppTest) -> list[str]:
    titles = [re.match(r"\*\*(.+)\*\*", each.label) for each in app.expander]
    return [title[1].replace("\\", "") for title in titles if title]


def case_names(app: AppTest) -> list[str]:
    return [title.split(": ", 1)[1] for title in re.findall(r'rb-name">([^<]*: [^<]*)<', html(app))]


def test_the_answer_comes_first_and_everything_follows(shown: Shown) -> None:
    app = shown(made_up())
    assert not app.exception
    text = html(app)
    assert "Tie: EfficientNet-Lite1 and EfficientNet-Lite0 cannot be told apart" in text
    assert headings(app) == [
        "Trade-offs",
        "Ranking",
        "Perturbations",
        "Over strength",
        "Accuracy",
        "ImageNet-C corruption error",
        "Classes",
        "Slices",
        "Changed classes",
        "Agreement",
        "Safe threshold",
        "Map",
        "Images",
        "Images left out",
    ]
    assert any("not comparable with published mCE" in caption.value for caption in app.caption)
    assert "104.1" in text, "the published figure stands beside"
    assert any("60 images under 8 conditions" in caption.value for caption in app.caption)
    assert len(charts(app)) == 10


def test_what_follows_is_folded_until_it_or_its_click_is_in_the_link(shown: Shown) -> None:
    app = shown(made_up(), opened=())
    assert not app.exception
    assert "Perturbations" in headings(app)
    assert not charts(app)
    app = shown(made_up(), opened=(), cell=["Rotation", "SqueezeNet"])
    assert len(charts(app)) == 1
    assert any("SqueezeNet 1\\.1 under Rotation" in m.value for m in app.subheader)
    app.session_state["show_perturbations"] = False
    app.run()
    assert not charts(app)


def test_a_page_shows_the_tables_and_sentences_of_the_report(shown: Shown) -> None:
    run = made_up()
    app = shown(run)
    told = report.of_run(run)
    text = html(app)
    assert escape(run.figures().choice.sentences[0]) in text
    for titled in told.brief[:2]:
        assert isinstance(titled, Titled)
        for row in titled.table.rows:
            assert all(f">{escape(cell)}</td>" in text for cell in row)
    notes = [b.text for s in told.sections for b in s.printed if isinstance(b, Text)]
    captions = "".join(caption.value for caption in app.caption).replace("\\", "")
    assert not [note for note in notes if note not in captions]


def test_the_cell_is_part_of_the_link(shown: Shown, tmp_path: Path) -> None:
    app = shown(
        made_up(), opened=(), cell=["Rotation", "SqueezeNet"], cell_figure="Prediction consistency"
    )
    assert any("SqueezeNet 1\\.1 under Rotation" in m.value for m in app.subheader)
    assert any("the cell shows prediction consistency" in m.value for m in app.caption)
    app.session_state[f"cell of {tmp_path.name}"] = ["Fog effect", "EfficientNetLite0"]
    app.run()
    assert app.query_params["cell"] == ["Fog effect", "EfficientNetLite0"]
    app.query_params["cell"] = ["Rotation", "SqueezeNet"]  # as Back has it
    app.run()
    assert any("SqueezeNet 1\\.1 under Rotation" in m.value for m in app.subheader)
    for nonsense in (["Rotation"], ["Rotation", "nobody"], ["<b>", "SqueezeNet", "x"]):
        app = shown(made_up(), opened=(), cell=nonsense)
        assert not app.exception
        assert not any(" under " in m.value for m in app.subheader)


def test_a_selection_of_nothing_known_gets_a_sentence(shown: Shown) -> None:
    for text in ("condition=nope", "image=99999999999", "image=a"):
        app = shown(made_up(images=4), opened=(), cell=[text])
        assert not app.exception
        (error,) = app.error
        assert "Expected" in error.value


def test_filters_choose_cases_and_more_can_be_asked_for(shown: Shown) -> None:
    app = shown(
        made_up(), opened=["images"], case_model="EfficientNet-Lite0", case_perturbation="Rotation"
    )
    assert len(case_names(app)) == 6
    text = html(app).split('class="rb-case"')[1:]
    assert all("EfficientNet-Lite0" in case and "Rotation 0.1" in case for case in text)
    app.button(key="shown_worst_button").click().run()
    assert len(case_names(app)) > 6
    app.selectbox(key="case_class").set_value(models.class_name("SqueezeNet", ESPRESSO + 1)).run()
    labels = re.findall(r"True class: ([^<]*)<", html(app))
    assert set(labels) == {models.class_name("SqueezeNet", ESPRESSO + 1)}


def test_a_case_opens_on_the_live_page(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    links: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(
        "streamlit.page_link",
        lambda page, *, label, icon, query_params: links.append((page, query_params)),
    )
    run = made_up()
    app = shown(run, opened=["images"], case_perturbation="Horizontal flip")
    page, query = links[0]
    assert page == "app.py"
    assert query["image"] == case_names(app)[0]
    assert query == {
        "run": run.id,
        "image": query["image"],
        "horizontal_flip": "true",
        "seed": "7",
    }
    links.clear()
    shown(made_up(), opened=["images"], case_perturbation="Fog effect + Rotation")
    assert links[0][1]["fog"] == "0.4"
    assert links[0][1]["rotation"] == "0.25"


def test_names_are_escaped_and_missing_pictures_say_so(shown: Shown) -> None:
    run = made_up(images=4)
    app = shown(run)
    assert not app.exception
    names = case_names(app)
    assert len(names) == 4
    assert "a &lt;b&gt;bold&lt;/b&gt; *star*.png" in names
    assert "The image *is gone*; put it back." in html(app)
    assert any(TOO_FEW in info.value.replace("\\", "") for info in app.info)
    assert any("1 image left out" in e.label for e in app.expander)


def test_a_run_with_a_model_that_is_not_here_can_be_read(shown: Shown) -> None:
    run = made_up(images=40)
    run._frame["model"] = run._frame["model"].replace("SqueezeNet", "someone's <i>network</i>")
    app = shown(run, opened=["ranking"])
    assert not app.exception
    text = html(app)
    assert "omeone&#39;s &lt;i&gt;network&lt;/i&gt;: accuracy" in text
    assert any("ranked only against those with the same classes" in i.value for i in app.info)


def test_a_run_without_rows_says_so_and_lists_what_it_could_not_read(shown: Shown) -> None:
    run = made_up()
    run._frame = run._frame.iloc[:0]
    app = shown(run, opened=["images_left_out"], finished=False)
    assert not app.exception
    assert app.info
    assert headings(app) == ["Images left out"]
    assert any("1 image left out" in each.label for each in app.expander)


# --- which cases ----------------------------------------------------------------------------------


def test_the_worst_cases_fell_furthest_and_survivors_saw_most() -> None:
    table = (
        made_up()
        .frame()
        .assign(retained_probability=lambda f: np.random.default_rng(1).random(len(f)) * 0.9)
    )
    for good in ("correct", "consistent"):
        if good == "consistent":
            table = table.assign(label=None, clean_correct=None, correct=None)
        kept = table[good].astype(bool)
        worst = cases(table, WORST)
        assert not worst[good].any()
        assert worst["image"].is_unique
        lost = worst[worst["clean_correct"].fillna(True).astype(bool)]
        assert lost.equals(worst.iloc[: len(lost)]), "those that were incorrect before come last"
        fall = (lost["clean_probability"] - lost["retained_probability"]).tolist()
        assert fall == sorted(fall, reverse=True)
        failed = table[~kept & table["clean_correct"].fillna(True).astype(bool)]
        deepest = (failed["clean_probability"] - failed["retained_probability"]).max()
        assert fall[0] == pytest.approx(deepest)
        survivors = cases(table, SURVIVORS)
        assert survivors[good].all()
        assert survivors["ssim"].is_monotonic_increasing
        assert survivors["ssim"].iat[0] == table[kept]["ssim"].min()
