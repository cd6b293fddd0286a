"""The map of a run: its shares are those of the rows, for every model and condition."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmarks.support.synthetic_rows import APGD, PGD, SyntheticRun, attacked, rows
from robustness import models
from robustness.attacks import REGISTRY as ATTACKS
from robustness.hardening import Hardening
from robustness.hardening.judgement import judge_training
from robustness.measure.condition import Condition
from robustness.measure.labels import with_correctness
from robustness.report import comparison, maps
from robustness.report import harden as results
from robustness.report.blocks import Map
from robustness.report.maps import BandMap, CellAxis, MapRow, Strip, Tick, Tile, band_position
from robustness.runs import Analysis
from robustness.runs.cases import RowSelection
from robustness.statistics import Figures
from robustness.statistics.choice import BEST, WORSE
from tests.support.frames import difference
from tests.support.synthetic_results import squares_run


def tiles(figures: Figures) -> list[Tile]:
    """The tiles of the map with a selection of images."""
    drawn = maps.run_map(figures, keyed=True)
    strips = [strip for row in drawn.rows for strip in row.strips if strip]
    return [tile for strip in strips for tile in strip.tiles if tile.key]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_shares_of_the_map_are_those_of_the_rows(labelled: bool, seed: int) -> None:
    run = squares_run(labelled=labelled, images=41, seed=seed)
    frame = with_correctness(run.frame())
    column = "correct" if labelled else "consistent"
    groups = frame.groupby(["model", "condition"], observed=True)[column]
    means = groups.mean().astype(float)
    measured = tiles(Analysis(run).figures)
    assert len(measured) == len(means)
    for tile in measured:
        chosen = RowSelection.parse(tile.key, run.manifest.spec)
        (condition,) = chosen.conditions
        share = means[chosen.model, condition]
        assert tile.text == f"{100 * share:.0f}"
        assert tile.tone == pytest.approx(2 * share - 1)
        low, high = binomtest(round(41 * share), 41).proportion_ci(method="exact")
        assert f": {share:.1%} " in tile.title
        assert f"({low:.1%} to {high:.1%}), n = 41" in tile.title


def test_originals_come_first_and_the_hardest_next() -> None:
    run = squares_run()
    lines = maps.rows(Analysis(run).figures, "perturbed_accuracy")
    first, *others = lines
    before = run.frame().drop_duplicates(["model", "image"]).groupby("model", observed=True)
    for model, share in before["clean_correct"].mean().to_dict().items():
        assert first.cells[str(model)][0].value == pytest.approx(share)
    means = [
        np.mean([np.mean([cell.value for cell in cells]) for cells in row.cells.values()])
        for row in others
    ]
    assert means == sorted(means)
    together = next(row for row in others if "+" in row.label)
    assert {len(cells) for cells in together.cells.values()} == {1}, "a composition is one cell"
    assert "Originals" not in [r.label for r in maps.rows(Analysis(run).figures, "consistency")]


def test_the_recommended_model_comes_first_and_cells_stand_under_their_severities() -> None:
    figures = Analysis(squares_run()).figures
    by_rank = maps.run_map(figures)
    assert by_rank.badge == "", "two models tie"
    assert "SqueezeNet" in by_rank.columns[-1]
    entries = [
        {**entry, "status": BEST if entry["model"] == "SqueezeNet" else WORSE}
        for entry in figures.choice.models
    ]
    chosen = replace(figures.choice, best=("SqueezeNet",), models=tuple(entries))
    drawn = maps.run_map(figures, chosen=chosen)
    assert list(drawn.columns) == [by_rank.columns[-1], *by_rank.columns[:-1]]
    for before, after in zip(by_rank.rows, drawn.rows, strict=True):
        assert list(after.strips) == [before.strips[-1], *before.strips[:-1]]
    assert "recommended" in drawn.table.head[1], "in words where there is no tint"
    assert drawn.axis is not None
    assert (drawn.axis.quantity, list(drawn.axis.labels)) == ("severity", list("12345"))
    (fog,) = [row for row in drawn.rows if row.label == "Fog effect"]
    assert fog.strips[0] is not None
    assert fog.strips[0].text.startswith("1: ")


def test_cells_of_other_strengths_have_no_common_axis() -> None:
    conditions = [("fog", 0.2), ("fog", 0.4), ("rotation", 0.3), ("rotation", 0.5)]
    kept = np.random.default_rng(0).random((30, 4)) < 0.5
    assert maps.run_map(Figures(rows(kept, conditions=conditions))).axis is None
    alike = [(name, strength) for name in ("rotation", "contrast") for strength in (0.3, 0.5)]
    axis = maps.run_map(Figures(rows(kept, conditions=alike))).axis
    assert axis is not None
    assert (axis.quantity, list(axis.labels)) == ("strength", ["0.3", "0.5"])


@pytest.mark.parametrize(
    ("conditions", "labels"),
    [
        ([("fog", 0.2), ("fog", 0.4), ("frost", 0.2), ("frost", 0.4)], ["1", "2"]),
        ([("fog", 0.2), ("fog", 0.4), ("rotation", 0.3), ("rotation", 0.5)], None),
        ([("fog", 0.2), ("frost", 0.4)], None),
    ],
)
def test_changes_have_the_axis_that_their_conditions_have_in_common(
    conditions: list[tuple[str, float]], labels: list[str] | None
) -> None:
    kept = np.random.default_rng(0).random((30, len(conditions))) < 0.5
    frame = rows(kept, conditions=conditions)
    changes = comparison.changes(difference(frame, frame), "consistency")
    axis = maps.change_map(changes, "consistency").axis
    assert (None if axis is None else list(axis.labels)) == labels


def test_an_attack_counts_every_image() -> None:
    """Of 70 images 42 are correct before, and 2 after."""
    frame = pd.concat(
        [attacked("SqueezeNet", 42, 2), attacked("EfficientNetLite0", 60, 45)], ignore_index=True
    )
    figures = Figures(frame)
    *_, row = maps.rows(figures, maps.quantity_of(figures))
    assert "L2" in row.label
    shares = {
        model: (cell.value, cell.entry[cell.count_name]) for model, (cell,) in row.cells.items()
    }
    assert shares["SqueezeNet"] == (pytest.approx(2 / 70), 70)
    assert shares["EfficientNetLite0"] == (pytest.approx(45 / 70), 70)
    (key, *_) = [tile.key for tile in tiles(figures)]
    spec = SyntheticRun(frame, (APGD, PGD)).manifest.spec
    assert len(RowSelection.parse(key, spec).conditions) == 2, "every attack that counts"
    assert ATTACKS["apgd"].label not in row.label


def test_a_model_without_a_condition_leaves_its_cell_empty() -> None:
    conditions = [("fog", 0.2), ("fog", 0.4)]
    whole = rows([[True, False]] * 5, conditions=conditions)
    part = rows([[True]] * 5, model="EfficientNetLite0", conditions=conditions[1:])
    drawn = maps.run_map(Figures(pd.concat([whole, part], ignore_index=True)))
    at = list(drawn.columns).index("EfficientNet-Lite0")
    strip = drawn.rows[0].strips[at]
    assert strip is not None
    empty, full = strip.tiles
    assert (empty.text, full.text) == ("", "100")
    assert "not measured" in empty.title


def of_two_groups(fog: int, contrast: int, *, elsewhere: tuple[int, int]) -> pd.DataFrame:
    """Eighty labelled images: incorrect under fog and contrast so often.

    ``elsewhere`` has the numbers of a model of unknown classes, beside two with the same ones.
    """
    conditions = [("fog", 0.4), ("contrast", 0.4)]
    images = np.arange(80)
    parts = []
    for model, (in_fog, in_contrast) in {
        "SqueezeNet": (fog, contrast),
        "EfficientNetLite0": (fog, contrast),
        "elsewhere": elsewhere,
    }.items():
        right = np.column_stack([images >= in_fog, images >= in_contrast])
        told: dict[str, Any] = {"labels": 7, "clean_correct": True, "correct": right}
        parts.append(rows(right, model=model, conditions=conditions, **told))
    return pd.concat(parts, ignore_index=True)


def test_a_model_with_other_classes_does_not_order_the_rows() -> None:
    """Two models fail under fog; a third, of other classes, fails so often under contrast that the
    mean of all three is worse there.
    """
    drawn = maps.run_map(Figures(of_two_groups(30, 20, elsewhere=(0, 70))))
    assert [row.label for row in drawn.rows] == ["Originals", "Fog effect", "Reduced contrast"]
    (group, _) = models.by_labels(["SqueezeNet", "elsewhere"])
    assert group[0].title in drawn.table.head[0], "whose mean it is, in words"
    alone = of_two_groups(30, 20, elsewhere=(0, 70)).query("model != 'elsewhere'")
    assert group[0].title not in maps.run_map(Figures(alone)).table.head[0]


def test_a_model_with_other_classes_does_not_order_the_losses() -> None:
    before = of_two_groups(0, 0, elsewhere=(0, 0))
    after = of_two_groups(30, 20, elsewhere=(0, 70))
    changes = comparison.changes(difference(before, after), "perturbed_accuracy")
    drawn = maps.change_map(changes, "perturbed_accuracy")
    assert [row.label for row in drawn.rows] == ["Originals", "Fog effect", "Reduced contrast"]
    (group, _) = models.by_labels(["SqueezeNet", "elsewhere"])
    assert group[0].title in drawn.table.head[0]


@pytest.mark.parametrize("badge", ["", "badge"])
def test_every_text_of_a_drawing_is_escaped(badge: str) -> None:
    def hostile(name: str) -> str:
        return f"<of-{name}>&'\"\u202e" if name else ""

    ticks = [Tick(0.1, hostile("tick")), Tick(0.5, hostile("span"), low=0.4, high=0.6)]
    tile = Tile(-0.5, hostile("title"), text=hostile("figure"), key=hostile("key"))
    drawn = Strip([tile], hostile("strip"), ticks)
    rows = [MapRow(hostile("row"), [drawn, None], hostile("image"))]
    axis = CellAxis(hostile("quantity"), [hostile("level")])
    columns = [hostile("first"), hostile("second")]
    drawing = BandMap(hostile("head"), columns, rows, hostile("caption"), axis, hostile(badge))

    names = ["tick", "span", "title", "figure", "key", "strip", "row", "image", "quantity", "level"]
    names += ["first", "second", "head", "caption", *([badge] if badge else [])]
    texts = [drawing.html, drawn.html, drawn.html_of(hostile("subject"))]
    assert not any("<of-" in text for text in texts)
    for name in names:
        assert f"&lt;of-{name}&gt;&amp;&#x27;&quot;U+202E" in drawing.html, name
    assert "&lt;of-subject&gt;" in texts[2]


# --- changes --------------------------------------------------------------------------------------


def frame_of(seed: int, share: float) -> pd.DataFrame:
    """Forty labelled images under fog and rotation, of two models."""
    rng = np.random.default_rng(seed)
    conditions = [("fog", 0.2), ("fog", 0.8), ("rotation", 0.4)]
    parts = []
    for model in ("SqueezeNet", "EfficientNetLite0"):
        right = rng.random((40, 3)) < [0.8, share, 0.75]
        parts.append(
            rows(
                right,
                model=model,
                conditions=conditions,
                labels=np.arange(40) % 4,
                clean_correct=np.ones(40, bool),
                correct=right,
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("quantity", ["consistency", "perturbed_accuracy"])
def test_a_map_of_changes_has_the_differences_and_pales_what_is_not_significant(
    quantity: str,
) -> None:
    entries = difference(frame_of(0, 0.8), frame_of(1, 0.1))
    by_key = {comparison.key(e): e for e in comparison.by_condition(entries, quantity)}
    drawn = maps.change_map(comparison.changes(entries, quantity), quantity)
    labels = [row.label for row in drawn.rows]
    assert "Fog effect" in labels[:2], "the largest loss first"
    assert (labels[0] == "Originals") == (quantity != "consistency")
    found = [tile for row in drawn.rows for strip in row.strips if strip for tile in strip.tiles]
    assert {tile.key for tile in found} == set(by_key)
    verdicts = set()
    for tile in found:
        entry = by_key[tile.key]
        gap, verdict = (entry[f"{quantity}_{name}"] for name in ("difference", "verdict"))
        assert int(tile.text) == round(100 * gap)
        assert np.sign(tile.tone) == np.sign(gap)
        assert (abs(tile.tone) > 0.3) == (verdict != "not established")
        assert ("not significant" in tile.title) == (verdict == "not established")
        verdicts.add(verdict)
    assert verdicts >= {"worse", "not established"}


@pytest.mark.parametrize("fixed", [0, 3, 30])
def test_the_originals_of_a_comparison_are_those_of_the_rows(fixed: int) -> None:
    """A share of the images is correct before; ``fixed`` more are afterwards."""
    before = frame_of(0, 0.8)
    before["clean_correct"] = before["image"] < "00005.png"
    more = before["image"].isin([f"{number:05}.png" for number in range(10, 10 + fixed)])
    after = before.assign(clean_correct=before["clean_correct"] | more)
    entries = difference(before, after)
    drawn = maps.change_map(comparison.changes(entries, "perturbed_accuracy"), "perturbed_accuracy")
    assert drawn.rows[0].label == "Originals"
    for strip in drawn.rows[0].strips:
        assert strip is not None
        (tile,) = strip.tiles
        gap = after["clean_correct"].mean() - before["clean_correct"].mean()
        assert gap == pytest.approx(fixed / 40)
        assert tile.text == (f"+{100 * gap:.0f}" if fixed else "0")
        assert (abs(tile.tone) > 0.3) == ("not significant" not in tile.title) == (fixed == 30)
    unlabelled = [frame.assign(label=np.nan, clean_correct=None) for frame in (before, after)]
    changes = comparison.changes(difference(*unlabelled), "perturbed_accuracy")
    assert all(change.condition for change in changes), "without labels there is no such row"


def test_a_hardened_model_has_its_shares_before_and_after() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random((50, 3)) < 0.5, rng.random((50, 3)) < [0.5, 0.95, 0.5]
    fog = Condition.of({"fog": 0.6}), Condition.of({"rotation": 0.4})
    values: dict[str, Any] = dict.fromkeys(field.name for field in fields(Hardening))
    values |= {"parent": "SqueezeNet", "name": "hard", "trained_on": ()}
    values["judgement"] = judge_training(before, after, fog[:1], fog[1:], labelled=True)
    answer = Hardening(**values)
    block = results.blocks(answer)[0]
    assert isinstance(block, Map)
    drawn = block.drawing
    assert "strength" not in block.note, "each condition has one"
    assert list(drawn.columns)[:2] == ["SqueezeNet 1.1", "hard"]
    assert drawn.phone_columns == 3, "before, after and the change stand in a line"
    shares = {row.label: [s.tiles[0].text for s in row.strips if s] for row in drawn.rows}
    for at, label in enumerate(["Originals", "Fog effect", "Rotation"]):
        first, second = 100 * before[:, at].mean(), 100 * after[:, at].mean()
        assert shares[label] == [
            f"{first:.0f}",
            f"{second:.0f}",
            f"{round(second - first):+d}".replace("+0", "0"),
        ]


def test_the_camera_is_marked_between_the_strengths_of_a_run() -> None:
    spans = {
        "fog": maps.Span(0.5, 0.4, 0.9, "fog 0.5"),
        "contrast": maps.Span(0.3, 0.2, 0.4, "contrast 0.3"),
    }
    figures = Analysis(squares_run()).figures
    fog, other = maps.camera_map(spans, figures).rows
    shares = next(r for r in maps.rows(figures, "perturbed_accuracy") if r.label == fog.label)
    names = [entry["model"] for entry in figures.summary]
    for strip, name in zip(fog.strips, names, strict=True):
        assert strip is not None
        cells = shares.cells[name]
        assert [t.text for t in strip.tiles] == [f"{100 * (c.value or 0):.0f}" for c in cells]
        (mark,) = strip.ticks
        assert (mark.low, mark.position, mark.high) == pytest.approx((0.3, 0.4, 0.8)), (
            "of five cells"
        )
    (alone,) = maps.camera_map({"contrast": spans["contrast"]}).rows
    for strip in (*other.strips, *alone.strips):
        assert strip is not None
        assert [tile.text for tile in strip.tiles] == [""], "nothing is measured"
        assert strip.ticks[-1].position == pytest.approx(band_position(0.3))
        assert "contrast 0.3" in strip.html


def test_a_map_of_thousands_of_compositions_has_the_hardest() -> None:
    conditions = [Condition.of({"fog": 0.2, "rotation": at / 200}) for at in range(1, 131)]
    kept = np.arange(131)[:, None] > np.arange(130)  # each is harder than the one before
    drawn = maps.run_map(Figures(rows(kept, conditions=conditions)))
    assert len(drawn.rows) == 100
    assert "hardest 100 of 130" in drawn.head
    assert drawn.rows[0].label == conditions[-1].short
