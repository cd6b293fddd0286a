"""A run under a profile: one row in its tables, its parts in the rows and behind selections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.support.synthetic_runs import saved
from robustness import api, gate, runs
from robustness.api.runs import weakest_perturbations
from robustness.base.errors import ParameterError
from robustness.measure.condition import YOUR_CAMERA, Condition, as_profile
from robustness.measure.request import make_spec, read_request, suite_conditions
from robustness.report import maps
from robustness.report.run import RunFigures
from robustness.report.threshold import THRESHOLD, certified
from robustness.runs import Analysis
from robustness.runs.cases import RowSelection
from robustness.runs.comparison import flips
from robustness.statistics import Figures

DIGESTS = {f"{at:03}.png": f"{at:064x}" for at in range(60)}
PARTS = tuple(Condition.of({"darkness": (at + 1) / 100}) for at in range(10))
CAMERA, FOG = as_profile(PARTS), Condition.of({"fog": 0.6})
MODELS = ("SqueezeNet", "EfficientNetLite0")


def made(root: Path, name: str = "run", camera: tuple[Condition, ...] = CAMERA) -> runs.Run:
    """``SqueezeNet`` fails the first 20 images under 3 compositions, the other model never."""
    kept = np.ones((60, len(camera) + 1), bool)
    kept[:20, :3] = False
    return saved(
        root / name,
        DIGESTS,
        dict.fromkeys(MODELS, 1.0),
        source=root,
        conditions=(*camera, FOG),
        labelled=False,
        kept={"SqueezeNet": kept},
    )


def test_tables_have_one_row_and_rows_every_composition(tmp_path: Path) -> None:
    run = made(tmp_path)
    figures, frame = Analysis(run).figures, run.frame()
    entries = [e for e in figures.by_perturbation if e["model"] == "SqueezeNet"]
    assert [entry["condition"] for entry in entries] == [YOUR_CAMERA, FOG.id]
    assert entries[0]["consistency"] == pytest.approx(1 - 20 * 3 / 600)
    assert sorted(frame["condition"].unique()) == sorted(c.id for c in (*CAMERA, FOG))
    profiles = frame.groupby("condition", observed=True)["profile"].first()
    assert {text for text, name in profiles.items() if name == YOUR_CAMERA} == {
        part.id for part in PARTS
    }
    for mine, theirs in zip(Figures(frame).summary, figures.summary, strict=True):
        assert mine == pytest.approx(theirs)


def test_a_selection_is_of_all_compositions(tmp_path: Path) -> None:
    run = made(tmp_path)
    text = f"model=SqueezeNet&condition={YOUR_CAMERA}"
    by_condition = RowSelection.parse(text, run.manifest.spec)
    by_name = RowSelection(model="SqueezeNet", perturbation=YOUR_CAMERA)
    for chosen in (by_condition, by_name):
        tally = run.cases.tally(chosen)
        assert (tally.images, tally.either.bad) == (60, 20)
        rows = run.cases.both(chosen, 25)
        assert {row["condition"] for row in rows[:20]} <= {part.id for part in PARTS[:3]}
        assert not any(row["consistent"] for row in rows[:20])
    for of_one, images in ((PARTS[5], 60), (FOG, 0)):  # what is in both
        both = RowSelection(model="SqueezeNet", perturbation=YOUR_CAMERA, conditions=(of_one.id,))
        assert run.cases.tally(both).images == images
        assert {row["condition"] for row in run.cases.both(both, 60)} <= {PARTS[5].id}
    failures = Analysis(run).failures
    changes = [entry for entry in failures.changes if entry["condition"] == YOUR_CAMERA]
    assert [entry["n_images"] for entry in changes if entry["model"] == "SqueezeNet"] == [20]


def test_limits_are_on_the_profile(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(
        f'[[limit]]\nperturbation = "{YOUR_CAMERA}"\nmin_consistency = 0.8'
    )
    check = gate.check(gate.read_budget(tmp_path / "b.toml"), made(tmp_path))
    assert {v.condition for v in check.verdicts} == {YOUR_CAMERA}
    assert check.passed
    (tmp_path / "b.toml").write_text('[[limit]]\nperturbation = "darkness"\nmin_consistency = 0.8')
    with pytest.raises(ParameterError, match=YOUR_CAMERA):
        gate.check(gate.read_budget(tmp_path / "b.toml"), made(tmp_path, "other"))


def test_a_threshold_rests_on_one_composition_an_image(tmp_path: Path) -> None:
    run = made(tmp_path)
    entries = {e["model"]: e for e in RunFigures(Analysis(run)).answer(THRESHOLD).entries}
    frame = run.frame(model="SqueezeNet")
    place = run.rows.draws % np.uint64(len(PARTS))
    drawn = {name: PARTS[at].id for name, at in zip(DIGESTS, place.tolist(), strict=True)}
    chosen = frame[frame["condition"] == frame["image"].map(drawn).astype(str)]
    assert len(chosen) == 60
    entry = entries["SqueezeNet"]
    assert entry["score"] == "probability"
    accepted = chosen[chosen["probability"] >= entry["strongest"]]
    assert entry["accepted"][YOUR_CAMERA] == pytest.approx(len(accepted) / 60)
    assert entry["error"][YOUR_CAMERA]["value"] == pytest.approx(
        1 - accepted["consistent"].astype(float).mean()
    )
    of = RunFigures(Analysis(run), {"max_error": 0.2})
    safe = certified(run, of.answer(THRESHOLD))["EfficientNetLite0"]
    assert safe is not None
    assert {*safe.conditions} == {part.id for part in (*PARTS, FOG)}
    assert not safe.untested(PARTS[0])


def test_runs_share_a_profile_of_equal_compositions_alone(tmp_path: Path) -> None:
    first, same = made(tmp_path), made(tmp_path, "same")
    other = made(tmp_path, "other", as_profile((*PARTS[:9], Condition.of({"darkness": 0.5}))))

    def shared(run: runs.Run) -> set[str | None]:
        return {entry["condition"] for entry in runs.compare(first, run).differences}

    assert shared(same) == {None, YOUR_CAMERA, FOG.id}
    assert shared(other) == {None, FOG.id}
    assert any(YOUR_CAMERA in note for note in runs.compare(first, other).notes)
    assert api.choose([first, same]).images == 60


def test_a_profile_labels_its_row_of_the_map_like_a_perturbation(tmp_path: Path) -> None:
    labels = [row.label for row in maps.run_map(Analysis(made(tmp_path)).figures).rows]
    assert set(labels) - {"Originals"} == {"Your camera", "Fog effect"}


def test_training_takes_single_perturbations_and_not_those_of_a_profile(tmp_path: Path) -> None:
    assert weakest_perturbations("SqueezeNet", made(tmp_path)) == ("fog",)


def test_a_flip_names_its_composition(tmp_path: Path) -> None:
    run = made(tmp_path)
    better = saved(
        tmp_path / "better",
        DIGESTS,
        dict.fromkeys(MODELS, 1.0),
        source=tmp_path,
        conditions=(*CAMERA, FOG),
        labelled=False,
        kept={"SqueezeNet": np.ones((60, len(CAMERA) + 1), bool)},
    )
    worse, gained = flips(run, better, "SqueezeNet", YOUR_CAMERA, "consistency")
    assert (len(worse), len(gained)) == (0, 20)
    assert {flip.condition for flip in gained} == {PARTS[0].id}


def test_a_request_says_what_its_profiles_are(tmp_path: Path) -> None:
    asked = make_spec(MODELS, (*CAMERA, FOG))
    assert [c.id for c in asked.pooled_conditions] == [YOUR_CAMERA, FOG.id]
    (tmp_path / "r.toml").write_text(asked.as_toml())
    assert read_request(tmp_path / "r.toml") == asked
    assert asked.digest != make_spec(MODELS, (*PARTS, FOG)).digest
    with pytest.raises(ParameterError, match="once"):
        make_spec(MODELS, (*CAMERA, PARTS[0]))


@pytest.mark.parametrize(
    "lines",
    [
        'profile = "fog"\ndarkness = 0.3',
        'profile = "suite"\ndarkness = 0.3',
        'profile = "a=b"\ndarkness = 0.3',
        'profile = "<b>"\ndarkness = 0.3',
        'profile = "door"',
        'profile = "door"\nattack = "fgsm"\nepsilon = 0.1\nnorm = "linf"\nsteps = 1\nrestarts = 1',
    ],
)
def test_other_profiles_are_refused(tmp_path: Path, lines: str) -> None:
    (tmp_path / "door.toml").write_text(f"[[condition]]\n{lines}\n")
    with pytest.raises(ParameterError, match="profile"):
        suite_conditions(str(tmp_path / "door.toml"))
