"""The accuracy that every attack of a run left, on made-up answers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.synthetic_rows import rows
from robustness.measure.condition import Condition
from robustness.report import tables
from robustness.statistics import Figures

ATTACKS = [
    Condition.attack("pgd", epsilon=1 / 255),
    Condition.attack("apgd_t", epsilon=1 / 255),
    Condition.attack("pgd", epsilon=2 / 255),
    Condition.attack("pgd", epsilon=0.5, norm="l2"),
]
LEFT = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 1]])


def test_a_picture_is_robust_if_no_attack_that_was_allowed_broke_it() -> None:
    frame = rows(LEFT, conditions=ATTACKS, correct=LEFT, clean_correct=np.ones(5))
    first, second, l2 = Figures(frame).robust_accuracy
    assert [entry["robust"] for entry in (first, second, l2)] == pytest.approx([0.4, 0.2, 0.8])
    assert [entry["attacks"] for entry in (first, second, l2)] == [2, 3, 1]
    assert first["strongest"] == ATTACKS[1].id
    assert first["strongest_left"] == pytest.approx(0.4)
    # One left more at 2/255 than another had at 1/255, whose images are within 2/255, too.
    assert second["strongest_left"] == pytest.approx(0.4)
    assert all(entry["of"] == "accuracy" for entry in (first, second, l2))
    assert all(e["robust_low"] <= e["robust"] <= e["robust_high"] for e in (first, second, l2))
    told = tables.robust_accuracy([first, second, l2])
    assert told.rows[0][2:4] == ("1/255", "2")
    assert any("APGD-T" in cell for cell in told.rows[0])


def test_without_labels_it_is_of_answers_and_without_attacks_there_is_none() -> None:
    (entry,) = Figures(rows(LEFT[:, :2], conditions=ATTACKS[:2])).robust_accuracy
    assert (entry["of"], entry["robust"]) == ("consistency", pytest.approx(0.4))
    assert Figures(rows(LEFT[:, :1])).robust_accuracy == []


def test_overconfidence_is_confidence_less_accuracy() -> None:
    frame = rows(LEFT[:, :1], correct=LEFT[:, :1], clean_correct=np.array([1, 1, 1, 0, 1]))
    (entry,) = Figures(frame).summary
    assert entry["clean_overconfidence"] == pytest.approx(0.9 - 0.8)
    assert entry["overconfidence"] == pytest.approx(0.8 - 0.8)
    assert entry["overconfidence_low"] < 0 < entry["overconfidence_high"]
    unlabelled = Figures(rows(LEFT[:, :1])).summary[0]
    assert unlabelled["overconfidence"] is unlabelled["clean_overconfidence_low"] is None
