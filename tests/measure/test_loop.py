"""What is asked (specs and conditions), the loop that answers it, and the summary of the rows.

The models are stand-ins, so that what the loop does with them can be counted and foreseen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import distance

from benchmarks.support.stand_in_models import TWO, Stable, StandIn
from robustness import metrics
from robustness.base.errors import ParameterError, UnknownNameError, WeightsError
from robustness.images.framing import Framing, Picture
from robustness.images.pixels import round_to_grid
from robustness.measure.condition import Condition
from robustness.measure.domain import domain_of
from robustness.measure.loop import evaluate, perturbed, strangers
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, make_spec, study_conditions
from robustness.measure.rows import provenance_record
from robustness.metrics.scores import RESCALED
from robustness.models import REGISTRY as MODELS
from robustness.models import digest
from robustness.perturbations import REGISTRY, Images, apply, compose
from robustness.remedies import parse_all
from tests.support.oracles import photos

FOG = Condition.of({"fog": 0.6})
NOISE = Condition.of({"gaussian_noise": 0.6})
TURN = Condition.of({"rotation": 0.5})
BOTH = Condition.of({"gaussian_noise": 0.3, "rotation": 0.2})
CONDITIONS = (FOG, NOISE, TURN, BOTH)


@pytest.fixture
def stable() -> Stable:
    return Stable()


def pictures(*names: str) -> list[Picture]:
    return [Picture.of(name, photos(name)[0], label=7) for name in names]


def request(
    conditions: Sequence[Condition],
    seed: int = 0,
    models: tuple[tuple[str, str], ...] = TWO,
) -> Request:
    framings = tuple((name, Framing()) for name, _ in models)
    return Request(models, tuple(conditions), framings, seed)


def run(
    conditions: Sequence[Condition] = CONDITIONS,
    names: Sequence[str] = ("coffee", "chelsea"),
    *,
    models: tuple[tuple[str, str], ...] = TWO,
    seed: int = 0,
) -> list[Measurement]:
    spec = request(conditions, seed, models)
    return list(evaluate(spec, pictures(*names), load=Stable().load))


# --- conditions and specs -------------------------------------------------------------------------


def test_make_spec_records_the_weights_and_the_default_selection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    spec = make_spec(["SqueezeNet"], [FOG, FOG], seed=5, fit="squash", side=96)
    assert spec.conditions == (FOG,), "asked once"
    assert spec.models == (("SqueezeNet", digest(MODELS["SqueezeNet"])),)
    assert (spec.conditions, spec.seed) == ((FOG,), 5)
    assert spec.framing_of("SqueezeNet") == Framing("squash", 96)
    offline = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
    assert make_spec(None, [FOG]).model_names == offline


def test_make_spec_refuses_what_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(UnknownNameError, match="Did you mean 'SqueezeNet'"):
        make_spec(["SqueezNet"], [FOG])
    with pytest.raises(WeightsError, match="VGG16: weights missing, 553 MB"):
        make_spec(["SqueezeNet", "VGG16"], [FOG])
    with pytest.raises(ParameterError, match="at least one perturbation, got none"):
        make_spec(["SqueezeNet"], [])
    for seed in (-1, 2**32):
        with pytest.raises(ParameterError, match=f"from 0 to 4294967295, got {seed}"):
            make_spec(["SqueezeNet"], [FOG], seed=seed)


SPEC = request((FOG, BOTH), 3)


def test_equal_specs_have_equal_digests() -> None:
    same = request(
        (Condition.of({"fog": 0.6}), Condition.of({"rotation": 0.2, "gaussian_noise": 0.3})), 3
    )
    assert same.digest == SPEC.digest
    ones = [request((Condition.of({"fog": one}),)) for one in (1, 1.0, np.float64(1))]
    assert len({spec.digest for spec in ones}) == 1
    assert len(SPEC.digest) == 64


CHANGES: dict[str, list[Any]] = {
    "models": [TWO[:1], (TWO[0], ("EfficientNetLite0", "sha256:3")), (TWO[0], ("VGG16", "md5:2"))],
    "conditions": [(FOG,), (BOTH, FOG), (FOG, TURN), (Condition.of({"fog": 0.61}), BOTH)],
    "seed": [4],
    "framings": [
        tuple((name, own) for name, _ in TWO)
        for own in (Framing("squash"), Framing(side=384), Framing(interpolation="bilinear"))
    ],
    "classes": [(0, 1), (1, 2)],
    "variants": [SPEC.with_remedies(parse_all(text)).variants for text in ("median", "median,tta")],
    "domain": [
        domain_of(
            {"name": "yard", "min_accuracy": floor, "ranges": {"fog": [0, 1], "snow": [0, 1]}}
        )
        for floor in (0.5, 0.6)
    ],
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Request)])
def test_every_field_of_a_spec_changes_its_digest(field: str) -> None:
    changed = [dataclasses.replace(SPEC, **{field: value}) for value in CHANGES[field]]
    assert len({SPEC.digest, *(spec.digest for spec in changed)}) == 1 + len(changed)


def test_the_manifest_names_everything_and_no_time() -> None:
    found = provenance_record(SPEC, [("a.png", "0" * 64)])
    assert set(found) == {"spec", "spec_digest", "pictures", "versions"}
    assert found["spec"] == {
        "models": dict(TWO),
        "perturbations": [{"fog": 0.6}, {"rotation": 0.2, "gaussian_noise": 0.3}],
        "framings": {name: {"fit": "crop", "side": 224} for name, _ in TWO},
        "seed": 3,
        "bits": 8,
    }
    assert found["spec_digest"] == SPEC.digest
    assert found["pictures"] == [{"image": "a.png", "digest": "0" * 64}]
    assert {"robustness", "python", "numpy", "tensorflow", "keras"} <= set(found["versions"])
    text = json.dumps(found, allow_nan=False)
    assert json.dumps(provenance_record(SPEC, [("a.png", "0" * 64)])) == text
    assert json.loads(text) == found


# --- the loop -------------------------------------------------------------------------------------


def test_each_picture_is_perturbed_once_and_passes_once_through_each_model(
    stable: Stable, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[Any] = []

    def counting(images: Images, strengths: Any, **options: Any) -> Images:
        composed.append(strengths)
        return compose(images, strengths, **options)

    monkeypatch.setattr("robustness.measure.condition.compose", counting)
    given = pictures("coffee", "chelsea", "rocket")
    list(evaluate(request(CONDITIONS), given, load=stable.load))
    assert len(composed) == len(given) * len(CONDITIONS)
    first, second = stable.loaded.values()
    for model in (first, second):  # and once of the unrelated images
        np.testing.assert_array_equal(model.batches.pop(1), strangers(224)[0])
    assert len(first.batches) == len(second.batches) == len(given)
    for picture, batch, again in zip(given, first.batches, second.batches, strict=True):
        assert batch.shape == (1 + len(CONDITIONS), 224, 224, 3)
        np.testing.assert_array_equal(batch[0], picture.image)
        np.testing.assert_array_equal(batch, again)


def test_a_batch_holds_the_picture_under_each_condition() -> None:
    picture = pictures("coffee")[0]
    images = perturbed(picture, CONDITIONS, seed=4)
    clean = picture.image[None]
    rotated = round_to_grid(apply(REGISTRY["rotation"], clean, 0.5))
    np.testing.assert_array_equal(images[2:3], rotated)
    noisy = round_to_grid(apply(REGISTRY["gaussian_noise"], clean, 0.6, seed=4))
    np.testing.assert_array_equal(images[1:2], noisy)
    turned = apply(REGISTRY["rotation"], clean, 0.2)
    noisy = apply(REGISTRY["gaussian_noise"], turned, 0.3, seed=4, digests=[picture.digest])
    np.testing.assert_array_equal(images[3:], round_to_grid(noisy))
    assert len(images) == 4


def test_pictures_are_taken_one_by_one_and_closing_stops(stable: Stable) -> None:
    taken = []

    def endless() -> Iterator[Picture]:
        while True:
            taken.append(1)
            yield pictures("coffee")[0]

    rows = evaluate(request((FOG,)), endless(), load=stable.load)
    next(rows)
    assert len(taken) == 1
    assert not stable.loaded["EfficientNetLite0"].batches
    rows.close()  # type: ignore[attr-defined]
    assert list(rows) == []


def test_a_row_says_what_the_model_made_of_the_picture() -> None:
    picture = pictures("chelsea")[0]
    images = perturbed(picture, CONDITIONS, seed=2)
    model = StandIn("EfficientNetLite0", 224)
    before, after = model(picture.image[None]), model(images)
    rows = [row for row in run(names=["chelsea"], seed=2) if row.model == "EfficientNetLite0"]
    for index, row in enumerate(rows):
        was, now = before.probabilities[0], after.probabilities[index]
        assert (row.image_digest, row.framed_digest) == (picture.source, picture.digest)
        assert (row.label, row.seed) == (7, 2)
        assert (row.clean_top1, row.top1) == (was.argmax(), now.argmax())
        assert (row.clean_probability, row.probability) == (was.max(), now.max())
        assert row.retained_probability == now[was.argmax()]
        for top, values, answer in (
            (row.clean_top5, row.clean_top5_probabilities, was),
            (row.top5, row.top5_probabilities, now),
        ):
            assert values == tuple(sorted(answer.tolist(), reverse=True)[:5])
            assert values == tuple(answer[list(top)].tolist())
        for stage, scores in row.stages.items():
            turned = 1 - distance.cosine(before.features[stage][0], after.features[stage][index])
            assert scores["cosine"] == pytest.approx(turned, abs=1e-6)
        assert list(row.stages) == [stage for stage, _ in model.record.stages]
        assert row.scores["euclidean"] == row.stages["head"]["euclidean"]
        assert row.scores["ssim"] == metrics.scores.ssim(picture.image[None], images)[index]
        assert set(row.scores) == {*metrics.REGISTRY.names, *RESCALED.values()}
    assert [(row.strength, row.parameter) for row in rows] == [
        (0.6, REGISTRY["fog"].parameter_at(0.6)),
        (0.6, REGISTRY["gaussian_noise"].parameter_at(0.6)),
        (0.5, 90.0),
        (None, None),
    ]


def test_at_strength_zero_nothing_changes() -> None:
    for row in run(study_conditions(strength=0), ["coffee"]):
        flat = row.as_row()
        assert flat["consistent"] is True
        assert (flat["strength"], flat["ssim"], flat["psnr"]) == (0.0, 1.0, None)
        assert flat["cosine"] == pytest.approx(1.0)
        assert flat["euclidean"] == flat["top5_overlap"] == 1.0
        assert flat["confidence_change"] == flat["divergence"] == 0.0
        assert flat["top5"] == flat["clean_top5"]


def test_the_same_seed_gives_the_same_rows_and_another_changes_the_noise_alone() -> None:
    rows, again, other = run(seed=1), run(seed=1), run(seed=2)
    assert rows == again
    for row, changed in zip(rows, other, strict=True):
        same = dataclasses.replace(changed, seed=1) == row
        assert same == (row.perturbation == "rotation"), "the only one that is not random"


def test_a_row_does_not_depend_on_what_else_is_in_the_run() -> None:
    together = {(row.image, row.model, row.perturbation): row for row in run(seed=1)}
    alone = run([NOISE], ["chelsea"], models=TWO[1:], seed=1)
    turned = run(CONDITIONS[::-1], ("rocket", "chelsea", "coffee"), models=TWO[::-1], seed=1)
    for row in [*alone, *(row for row in turned if row.image != "rocket")]:
        assert together[row.image, row.model, row.perturbation] == row


# --- the summary ----------------------------------------------------------------------------------
