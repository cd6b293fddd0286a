"""The cells of bands: shared, computed once, in small turns, and those of the perturbed images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.cli.main import main
from robustness.images.decoding import sample_path
from robustness.measure import strength
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.measure.strength import Cell
from robustness.perturbations import REGISTRY
from robustness.ui import cells as ui_cells
from robustness.ui.shared import LIMIT, ResultCache
from tests.support.pages import sample

NOTHING = Condition.of({})
EVERY = strength.strengths(REGISTRY["fog"])


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui_cells, "RESULT_CACHE", ResultCache(LIMIT))


class Passes:
    """Counts turns and records how many images each pass and each perturbing had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns = 0
        self.perturbed: list[int] = []
        self.passed: list[int] = []
        self.stop_after = 10**6
        self._within = False
        monkeypatch.setattr(ui_cells, "perturbed", self._noted(perturbed, self.perturbed, 1))
        call = models.Classifier.__call__
        monkeypatch.setattr(models.Classifier, "__call__", self._noted(call, self.passed, 1))

    def _noted(self, run: Callable[..., Any], sizes: list[int], place: int) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            assert self._within
            sizes.append(len(arguments[place]))
            return run(*arguments)

        return noted

    @contextmanager
    def turn(self) -> Iterator[None]:
        if self.turns >= self.stop_after:
            raise InterruptedError
        self.turns += 1
        self._within = True
        yield
        self._within = False


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


def cells(turn: Any, *names: str, **changed: Any) -> dict[str, Any]:
    """The cells of the sample under fog at the first five strengths, or what is ``changed``."""
    values: dict[str, Any] = {
        "others": NOTHING,
        "perturbation": "fog",
        "strengths": EVERY[:5],
        "seed": 3,
        **changed,
    }
    return dict(ui_cells.cells(sample("chelsea"), names, turn=turn, **values))


def expected(name: str, condition: Condition, strength: float, seed: int) -> Cell:
    (image,) = perturbed(sample("chelsea"), [condition], seed)
    (row,) = models.load(name)(image[None]).probabilities
    probability: Any = pytest.approx(float(row.max()), abs=1e-5)
    return Cell(strength, int(row.argmax()), probability)


def test_a_cell_is_the_prediction_beside_the_other_perturbations(passes: Passes) -> None:
    others = {"rotation": 0.3, "gaussian_noise": 0.9}
    names = ("SqueezeNet", "EfficientNetLite0")
    found = cells(
        passes.turn, *names, others=Condition.of(others), perturbation="gaussian_noise", seed=5
    )
    assert list(found) == [*names]
    for name in names:
        assert [cell.strength for cell in found[name]] == list(EVERY[:5])
    passes.turn().__enter__()
    for cell in found["SqueezeNet"][::2]:
        condition = Condition.of({**others, "gaussian_noise": cell.strength})
        assert cell == expected("SqueezeNet", condition, cell.strength, 5)


def test_known_cells_are_not_computed_again_and_the_rest_is(passes: Passes) -> None:
    coarse = cells(passes.turn, "SqueezeNet")["SqueezeNet"]
    assert sum(passes.passed) == 5
    every = cells(passes.turn, "SqueezeNet", strengths=EVERY)["SqueezeNet"]
    assert every[:5] == coarse
    assert sum(passes.perturbed) == sum(passes.passed) == len(EVERY)
    turns = passes.turns
    assert cells(passes.turn, "SqueezeNet", strengths=EVERY)["SqueezeNet"] == every
    assert passes.turns == turns
    cells(passes.turn, "SqueezeNet", seed=4)  # fog is random
    assert sum(passes.passed) == len(EVERY) + 5
    assert max(passes.passed + passes.perturbed) <= ui_cells.PART


def test_every_perturbation_shares_the_original(passes: Passes) -> None:
    cells(passes.turn, "SqueezeNet")
    cells(passes.turn, "SqueezeNet", perturbation="horizontal_flip", strengths=(0.0, 1.0))
    assert sum(passes.passed) == 5 + 1


def test_models_share_the_images_and_equal_images_are_passed_once(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = lambda picture, conditions, seed: np.stack(  # noqa: E731
        [picture.image if (c.strength or 0) < 0.5 else 1 - picture.image for c in conditions]
    )
    monkeypatch.setattr(ui_cells, "perturbed", half)
    names = ("SqueezeNet", "EfficientNetLite0")
    found = cells(passes.turn, *names, strengths=EVERY)
    assert sum(passes.passed) == 2 * len(names)
    for name in names:
        assert [cell.strength for cell in found[name]] == list(EVERY)
        top1 = {cell.strength < 0.5: cell.top1 for cell in found[name]}
        assert all(cell.top1 == top1[cell.strength < 0.5] for cell in found[name])


def test_a_model_that_cannot_load_has_its_error_and_the_others_their_cells(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = models.load

    def fail(name: str, **options: Any) -> Any:
        if name == "EfficientNetLite0":
            raise WeightsError("The weights are gone.")
        return load(name, **options)

    monkeypatch.setattr(models, "load", fail)
    found = cells(passes.turn, "EfficientNetLite0", "SqueezeNet")
    assert isinstance(found["EfficientNetLite0"], WeightsError)
    assert len(found["SqueezeNet"]) == 5


def test_what_is_computed_stays_when_the_work_is_cancelled(passes: Passes) -> None:
    passes.stop_after = 3  # two to perturb five images, one to predict four
    with pytest.raises(InterruptedError):
        cells(passes.turn, "SqueezeNet")
    passes.stop_after = 10**6
    cells(passes.turn, "SqueezeNet")
    assert passes.passed == [4, 1]


def test_a_remedy_has_its_own_cells(passes: Passes) -> None:
    plain = cells(passes.turn, "SqueezeNet")["SqueezeNet"]
    remedied = cells(passes.turn, "SqueezeNet", remedy="median")["SqueezeNet"]
    assert plain != remedied
    assert remedied[3] == cells(passes.turn, "SqueezeNet", remedy="median")["SqueezeNet"][3]


def test_known_cells_are_those_of_the_original_under_one_perturbation(passes: Passes) -> None:
    chelsea, names = sample("chelsea"), ["SqueezeNet", "EfficientNetLite0"]
    assert not any(ui_cells.read_cells(chelsea, names, ["fog"], 3).values())
    made = cells(passes.turn, "SqueezeNet")["SqueezeNet"]
    cells(passes.turn, "SqueezeNet", others=Condition.of({"rotation": 0.2}), strengths=EVERY)
    have = ui_cells.read_cells(chelsea, names, ["fog", "snow"], 3)
    assert have["fog", "SqueezeNet"] == sorted(made, key=lambda cell: cell.strength)
    assert [cell.strength for cell in have["snow", "SqueezeNet"]] == [0.0]
    assert not have["fog", "EfficientNetLite0"]


def test_an_estimate_follows_measured_rates_and_counts_only_what_is_missing(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui_cells, "_PASS", {})
    monkeypatch.setattr(ui_cells, "_PERTURB", {})
    chelsea, names = sample("chelsea"), ["SqueezeNet", "EfficientNetLite0"]
    assert ui_cells.seconds(chelsea, names, ["fog"], 3) is None
    cells(passes.turn, *names)
    one, two = (
        ui_cells.seconds(chelsea, names, what, 3) for what in (["fog"], ["fog", "rotation"])
    )
    assert one
    assert two
    assert two > one
    cells(passes.turn, *names, strengths=EVERY)
    assert ui_cells.seconds(chelsea, names, ["fog"], 3) == 0


def test_a_cell_is_what_the_commands_say_of_the_image_that_they_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "foggy.png"
    source = str(sample_path("chelsea"))
    settings = ["--perturbation", "fog", "--strength", "0.35", "--seed", "3"]
    assert main(["perturb", source, *settings, "--to", str(written)]) == 0
    capsys.readouterr()
    names = ("SqueezeNet", "EfficientNetLite0")
    found = cells(nullcontext, *names, strengths=EVERY)
    asked = ["predict", str(written), "--models", ",".join(names), "--fit", "squash", "--json"]
    assert main(asked) == 0
    said = json.loads(capsys.readouterr().out)["predictions"]
    for entry in said:
        (cell,) = (cell for cell in found[entry["model"]] if cell.strength == 0.35)
        assert cell.top1 == entry["top"][0]["index"]
        assert cell.probability == pytest.approx(entry["top"][0]["probability"], abs=1e-5)
