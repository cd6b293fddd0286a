"""The Python API: what the README does not show of it."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robustness as rb
from benchmarks.support.image_files import load_study_image
from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.stand_in_models import Stable
from robustness import api
from robustness.api.images import open_images
from robustness.base.errors import ParameterError, RunError
from robustness.images.pixels import round_to_grid, to_uint8
from robustness.measure import loop
from robustness.measure.request import Request
from robustness.perturbations import REGISTRY, compose
from robustness.runs import Analysis
from robustness.statistics import Figures
from tests.support.data_sets import HubData
from tests.support.saved_runs import use_stand_ins


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)
    whole = loop.evaluate
    monkeypatch.setattr(
        loop, "evaluate", lambda spec, pictures: whole(spec, pictures, load=Stable().load)
    )


@pytest.fixture
def spec() -> Request:
    return api.make_spec(["SqueezeNet"], perturbations=["fog", "rotation"], strengths=[0.2, 0.6])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return labelled_folder(tmp_path / "photos", 1)


def test_importing_it_loads_no_tensorflow_and_listing_models_no_remedies() -> None:
    code = (
        "import sys, robustness; before = set(sys.modules); "
        "from robustness.cli import main; main.main(['models', '--json']); "
        "assert not {'cv2', 'robustness.remedies', 'robustness.attacks'} & set(sys.modules); "
        "robustness.make_spec(['SqueezeNet']); "
        "slow = {'tensorflow', 'openvino', 'streamlit', 'plotly'}; "
        "sys.exit('numpy' in before or bool(slow & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_folder_and_the_same_pictures_have_the_same_rows(
    spec: Request, photos: Path, tmp_path: Path
) -> None:
    heard: list[api.Progress] = []
    run = api.evaluate(photos, spec, out=tmp_path / "runs", note=heard.append)
    assert heard[-1].done == 3
    assert api.evaluate(photos, spec, out=tmp_path / "runs").id == run.id, "not computed twice"
    frame = run.frame()
    labels = dict(zip(frame["image"].astype(str), frame["label"], strict=True))
    by_name = {name: photos / name for name in frame["image"].unique()}
    again = api.evaluate_pictures(by_name, spec, labels=labels)
    assert again.astype(object).equals(frame.astype(object))
    assert Figures(again).summary == Analysis(run).figures.summary
    assert api.open_run(run.folder).table().equals(run.table())


def test_arrays_are_pictures_too(spec: Request, photos: Path) -> None:
    path = next(photos.rglob("*.jpg"))
    study = load_study_image(path)
    given = {"file": path, "text": str(path), "study": study, "double": study.astype(float)}
    rows = api.evaluate_pictures(given, spec)
    assert rows["framed_digest"].nunique() == 1, "all are shown alike"
    assert rows.groupby("image")["image_digest"].first().nunique() == 2, "a file and its crop"
    cut = study[:200, :180]
    others = {"levels": to_uint8(cut), "shares": cut, "PIL": Image.fromarray(to_uint8(cut))}
    assert api.evaluate_pictures(others, spec)["image_digest"].nunique() == 1


def test_runs_are_compared_and_checked(spec: Request, photos: Path, tmp_path: Path) -> None:
    run = api.evaluate(photos, spec, out=tmp_path / "runs")
    again = api.evaluate(photos, spec, out=tmp_path / "runs", resume=False)
    assert again.id != run.id
    compared = api.compare(run, again)
    assert compared.images == 3
    assert compared.rows is not None
    assert compared.rows.difference is None
    (tmp_path / "budget.toml").write_text("[[limit]]\nmin_consistency = 1.0\nmax_regression = 0.1")
    found = api.check(run, tmp_path / "budget.toml", baseline=run)
    assert [verdict.limit for verdict in found.broken] == ["min_consistency"]


# --- images as a session has them -----------------------------------------------------------------


class Listed:
    """A sequence with a length and items."""

    def __init__(self, items: list[object]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> object:
        return self._items[place]


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8)
LABELS = [0, 1, None]
CLASSES = ["tench", "goldfish"]


def test_all_forms_of_the_same_images_have_the_same_rows(
    spec: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [f"{place}.png" for place in range(3)]
    for file, pixels in zip(files, PIXELS, strict=True):
        Image.fromarray(pixels).save(file)
    pairs: list[tuple[object, object]] = list(zip(PIXELS, LABELS, strict=True))
    forms = {
        "levels": (PIXELS, LABELS),
        "shares": (PIXELS / 255, [0.0, 1.0, float("nan")]),
        "channels first": (PIXELS.transpose(0, 3, 1, 2), LABELS),
        "names": (list(PIXELS), ["tench", "goldfish", None]),
        "pairs": pairs,
        "generator": (pair for pair in pairs),
        "PIL": ([Image.fromarray(each) for each in PIXELS], LABELS),
        "files": (files, LABELS),
        "frame": pd.DataFrame({"path": files, "label": LABELS}),
        "repeated columns": pd.DataFrame(
            [[file, label, 1, file, 2] for file, label in zip(files, LABELS, strict=True)],
            columns=["path", "label", "site", "path", "site"],
        ),
        "numbers of NumPy": (PIXELS, [np.int64(0), np.array(1), None]),
        "sequence": Listed([[pixels, label] for pixels, label in pairs]),
        "table of Hugging Face": HubData(
            [Path(file).read_bytes() for file in files], [0, 1, -1], ["a", "b"]
        ),
    }
    found = {
        name: rb.evaluate(source, spec, classes=CLASSES).frame() for name, source in forms.items()
    }
    first = found.pop("levels").drop(columns="image")
    assert first["label"].notna().sum() == 2 * len(spec.conditions)
    for name, frame in found.items():
        same = frame.drop(columns="image").astype(object).equals(first.astype(object))
        assert same, name
    assert sorted(path.name for path in tmp_path.iterdir()) == files, "nothing else is written"


def test_a_run_has_its_tables_as_frames_and_draws_itself(tmp_path: Path) -> None:
    run = rb.evaluate(
        (PIXELS, LABELS),
        classes=CLASSES,
        models=["SqueezeNet"],
        conditions=["fog=.6", "rotation=1"],
    )
    assert run.summary()["model"].tolist() == ["SqueezeNet"]
    assert {"consistency", "consistency_low", "consistency_high"} <= set(run.summary())
    assert run.by_condition()["condition"].tolist() == ["fog=0.6", "rotation=1.0"]
    assert "SqueezeNet" in run._repr_html_()
    assert run._repr_html_().count("<table>") == 2, "the models and the map"
    assert run.picture("image 0").name == "image 0", "cases are drawn from the session's images"
    with pytest.raises(RunError, match="from a Python session, which alone can open them"):
        rb.open_run(run.folder).picture("image 0")
    folder = run.folder
    del run
    gc.collect()  # the answers to its questions refer to each other
    assert not folder.exists(), "nothing is left behind"


# --- perturbations on arrays ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [record.name for record in REGISTRY])
def test_arrays_of_any_shape_and_type_are_perturbed(name: str) -> None:
    found = rb.perturb(PIXELS, name, 0.7, seed=3)
    assert (found.shape, found.dtype) == (PIXELS.shape, np.uint8)
    assert (rb.perturb(PIXELS[1], name, 0.7, seed=3) == found[1]).all()
    shares = rb.perturb(PIXELS / 255, name, 0.7, seed=3)
    assert np.abs(shares * 255 - found).max() < 1e-9
    assert (rb.perturb(PIXELS, name, 0) == PIXELS).all()


@pytest.mark.parametrize(("mode", "grey"), [("I;16", 32896), ("F", 128 / 255), ("I", 128)])
def test_grey_of_any_depth_is_the_same_image(mode: str, grey: float) -> None:
    assert (rb.perturb(Image.new(mode, (8, 8), grey), "fog", 0.0) == 128).all()
    with pytest.raises(ParameterError, match="from 0 to"):
        rb.perturb(Image.new("I", (8, 8), 40000), "fog", 0.0)


def test_a_study_image_is_perturbed_as_a_run_does_it() -> None:
    study = round_to_grid(np.random.default_rng(1).random((1, 224, 224, 3), np.float32))
    condition = {"fog": 0.4, "gaussian_noise": 0.2}
    asked = "fog=0.4+gaussian_noise=0.2"
    assert (rb.perturb(study, asked, seed=7) == compose(study, condition, seed=7)).all()
    assert rb.pair(study[0], asked)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "given",
    [
        *({"models": ["SqueezeNet"]}, {"conditions": ["fog=0.6"]}, {"remedies": ["median"]}),
        *({"seed": 1}, {"fit": "squash"}, {"side": 64}),
    ],
)
def test_nothing_beside_a_spec_is_dropped(spec: Request, given: dict[str, Any]) -> None:
    with pytest.raises(api.RobustnessError, match="Expected a spec, or models"):
        rb.evaluate(PIXELS, spec, **given)


@pytest.mark.parametrize("form", ["arrays", "blanks", "a copy", "a gap"])
def test_the_columns_of_a_frame_stay_with_their_images(form: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for file in files:
        Image.fromarray(PIXELS[0]).save(file)
    images: dict[str, list[Any]] = {
        "arrays": [PIXELS[0]] * 3,
        "blanks": [f" {file}" for file in files],
        "a copy": [str(files[0])] * 3,
        "a gap": [str(files[0]), str(files[1]), None],
    }
    frame = pd.DataFrame({"image": images[form], "site": ["x", "y", "z"]})
    labels = pd.array([1, None, 0], dtype="Int64")
    found = open_images(frame.assign(label=labels), CLASSES)
    assert [*found.columns()["site"].values()] == ["x", "y", "z"][: len(found)]
    assert [*found.columns()["site"]] == [entry.name for entry in found.entries]
    assert [entry.label for entry in found.entries] == ["goldfish", None, "tench"][: len(found)]
    assert len(found) == (2 if form == "a gap" else 3)


def test_integer_labels_are_indices_of_the_classes(tmp_path: Path) -> None:
    def labels(given: list[Any], classes: Any) -> list[str | None]:
        pairs = list(zip([PIXELS[0]] * len(given), given, strict=True))
        return [entry.label for entry in open_images(pairs, classes).entries]

    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert labels([1, 0, None, "n01440764", "281"], CLASSES) == [
        *("goldfish", "tench", None, "n01440764", "281")
    ]
    assert labels([0, 134], "imagenet") == ["tench", "crane bird"]
    assert labels([0], tmp_path / "classes.txt") == ["dog"]
    assert labels(["cat", None], None) == ["cat", None]
    for given, message in (
        (2, "Expected labels from 0 to 1, the indices of the 2 classes, got 2"),
        (-1, "got -1"),
        (0.5, "got float"),
        (True, "got bool"),
        (np.eye(2)[0], "got ndarray"),
    ):
        with pytest.raises(ParameterError, match=message):
            labels([given], CLASSES)


@pytest.mark.parametrize(
    "source",
    [
        (PIXELS, np.array([0, 1, 2])),
        [(PIXELS[0], 0)],
        Listed([(PIXELS[0], 0)]),
        pd.DataFrame({"image": [PIXELS[0]], "label": [0]}),
    ],
    ids=["arrays", "pairs", "sequence", "frame"],
)
def test_integer_labels_without_classes_are_refused(source: object) -> None:
    with pytest.raises(ParameterError, match=r"Expected classes for integer labels.*classes=\["):
        rb.evaluate(source, models=["SqueezeNet"], conditions=["fog=0.6"])


def test_classes_are_for_images_in_memory(photos: Path, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: rb.evaluate(photos, classes=CLASSES, models=["SqueezeNet"]),
        lambda: rb.export(photos, tmp_path, conditions=["fog=1"], classes=CLASSES),
        lambda: rb.match(photos, reference=photos, classes=CLASSES),
        lambda: rb.harden("SqueezeNet", images=photos, name="hard", classes=CLASSES),
    ]
    for call in calls:
        with pytest.raises(ParameterError, match=r"in memory only.*Leave classes out\."):
            call()


# --- wrong arguments ------------------------------------------------------------------------------

WRONG: tuple[Any, ...] = (
    *(None, 5, -1, 2.5, float("nan"), True, "", "nothing", b"bytes", Path("no/such"), object()),
    *([], [5], [None], (), {}, {"a": 1}, print, np.zeros(3), np.full((1, 8, 8, 3), 300.0)),
)
CALLS: dict[str, Callable[[Any], object]] = {
    "evaluate": lambda wrong: rb.evaluate(wrong, models=["SqueezeNet"], conditions=["fog=0.6"]),
    "models": lambda wrong: rb.evaluate(PIXELS, models=[wrong], conditions=["fog=0.6"]),
    "conditions": lambda wrong: rb.make_spec(["SqueezeNet"], conditions=[wrong]),
    "spec": lambda wrong: rb.make_spec(wrong, seed=wrong, fit=wrong),
    "side": lambda wrong: rb.make_spec(["SqueezeNet"], side=wrong, strengths=[2.0]),
    "limit": lambda wrong: rb.evaluate(PIXELS, models=["SqueezeNet"], limit=wrong, sample=-1),
    "labels": lambda wrong: rb.evaluate((PIXELS[:2], wrong), models=["SqueezeNet"]),
    "pictures": lambda wrong: rb.evaluate_pictures({"x": wrong}, rb.make_spec(["SqueezeNet"])),
    "perturb": lambda wrong: rb.perturb(wrong, "fog", 0.5),
    "adversarial": lambda wrong: rb.adversarial(wrong, "fgsm(epsilon=1/255)", "SqueezeNet"),
    "attack": lambda wrong: rb.adversarial(PIXELS, wrong, wrong),
    "attacked": lambda wrong: rb.attack(wrong, model="SqueezeNet"),
    "perturbation": lambda wrong: rb.perturb(PIXELS, wrong),
    "strength": lambda wrong: rb.perturb(PIXELS, "pgd", wrong),
    "pair": lambda wrong: rb.pair(wrong, "fog", 0.5),
    "sweep": lambda wrong: rb.sweep(wrong, models=["SqueezeNet"], perturbation="fog"),
    "model": lambda wrong: rb.model(wrong, name=wrong),
    "load_model": lambda wrong: rb.load_model(wrong),
    "remove_model": lambda wrong: rb.remove_model(wrong),
    "open_run": lambda wrong: rb.open_run(wrong),
    "classes": lambda wrong: rb.evaluate((PIXELS, LABELS), classes=[wrong], models=["SqueezeNet"]),
    "predictions": lambda wrong: rb.evaluate_predictions(wrong, classes=wrong),
    "report": lambda wrong: api.report(wrong, wrong),
    "check": lambda wrong: rb.check(wrong, wrong),
    "choose": lambda wrong: rb.choose(wrong),
    "read_request": lambda wrong: rb.read_request(wrong),
    "compare": lambda wrong: rb.compare(wrong, wrong),
    "no models": lambda _: rb.evaluate(PIXELS, models=[], conditions=["fog=0.6"]),
    "names": lambda wrong: rb.evaluate(PIXELS, model=wrong),
    "missing": lambda wrong: rb.sweep(wrong),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_refused_with_a_sentence(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in WRONG:
        if call == "models" and wrong is None:
            continue
        with pytest.raises(api.RobustnessError, match=r"[.?]$"):
            CALLS[call](wrong)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: rb.open_run(5), "folder: expected a text or a path, got 5."),
        (lambda: rb.make_spec([], seed="1"), "seed: expected a whole number, got '1'."),
        (lambda: rb.make_spec([], "fog"), "make_spec: expected at most 1 argument without a name"),
        (lambda: rb.make_spec([], model_names=[]), "expected one value of model_names, got two."),
        (lambda: rb.make_spec([], conditions="fog"), "conditions: expected a list, got 'fog'."),
        (
            lambda: rb.make_spec([], conditions=["fog=1", 5, 6]),
            "conditions: expected item 2 to be an instance of Condition or a text, got 5.",
        ),
        (lambda: rb.choose(5), "run: expected an instance of Run or a list, got 5."),
        (lambda: rb.choose([], weights=3), "weights: expected a mapping, got 3."),
        (lambda: rb.evaluate(PIXELS, modle=1), "there is no 'modle'. Did you mean 'models'? Known"),
        (lambda: rb.sweep(PIXELS), "sweep: 'perturbation' is missing: add it."),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ParameterError) as caught:
        call()
    assert sentence in str(caught.value)
