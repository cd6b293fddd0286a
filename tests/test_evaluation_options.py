"""Every option of an evaluation reaches the manifest: of Python, of the command, and of the form.

An option that is accepted and not recorded gives a run that nobody can repeat, and whose images
seem to have changed. A new one fails here until it is written down below with what the manifest has
to say of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import robustness as rb
from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.base.errors import ParameterError
from robustness.base.options import changed, fields_of
from robustness.cli import request
from robustness.measure.options import ConditionOptions, ImageOptions, RunOptions
from robustness.models.variant import variants_of
from robustness.remedies import parse
from robustness.runs.manifest import Manifest, read
from tests.support.jobs import in_threads, worked_off
from tests.support.pages import run, texts
from tests.support.saved_runs import use_stand_ins

Words = Sequence[str]


def conditions(manifest: Manifest) -> list[str]:
    return [condition.id for condition in manifest.spec.conditions]


def fits(manifest: Manifest) -> set[str]:
    return {framing.fit for _, framing in manifest.spec.framings}


def sides(manifest: Manifest) -> set[int]:
    return {framing.side for _, framing in manifest.spec.framings}


def remedies(manifest: Manifest) -> list[str]:
    return [chain.id for chain in manifest.spec.remedies]


READ: dict[str, Callable[[Manifest], Any]] = {
    "conditions": conditions,
    "seed": lambda manifest: manifest.spec.seed,
    "fit": fits,
    "side": sides,
    "remedies": remedies,
    "labelling": lambda manifest: manifest.dataset.labelling,
    "limit": lambda manifest: manifest.dataset.limit,
    "sample": lambda manifest: manifest.dataset.sample,
    "batch": lambda manifest: manifest.batch,
    "own_classes": lambda manifest: len(manifest.spec.classes),
}
"""What a manifest says of each option."""

MODEL = "EfficientNetLite0"
VALUES: dict[str, tuple[Any, str, Any]] = {
    "seed": (7, "7", 7),
    "fit": ("squash", "squash", {"squash"}),
    "side": (96, "96", {96}),
    "remedies": (["median"], "median", ["median"]),
    "limit": (3, "3", 3),
    "sample": (2, "2", 2),
    "batch": (5, "5", 5),
    "own_classes": (True, "", 2),
    "labelling": ("known", "known", "known"),
}
"""A value of each option that is no default, its word for the command, and how it is read back."""

ATTACKED = ["--perturbations", "pgd"]
PGD = {"perturbations": ["pgd"]}
CONDITIONS: dict[str, tuple[Words, dict[str, Any], list[str]]] = {
    "conditions": (["--conditions", "fog=0.4"], {"conditions": ["fog=0.4"]}, ["fog=0.4"]),
    "perturbations": (["--perturbations", "fog"], {"perturbations": ["fog"]}, ["fog=0.6"]),
    "strengths": (
        ["--perturbations", "fog", "--strength", "0.3"],
        {"perturbations": ["fog"], "strengths": [0.3]},
        ["fog=0.3"],
    ),
    "severities": (
        ["--perturbations", "fog", "--severities", "1"],
        {"perturbations": ["fog"], "severities": [1]},
        ["fog=0.2"],
    ),
    "suite": (["--suite", "suite.toml"], {"suite": "suite.toml"}, ["fog=0.25"]),
    "epsilon": (
        [*ATTACKED, "--epsilon", "4/255"],
        {**PGD, "epsilon": ["4/255"]},
        [f"pgd(epsilon={4 / 255},norm=linf,restarts=1,steps=20)"],
    ),
    "attack_steps": (
        [*ATTACKED, "--attack-steps", "3"],
        {**PGD, "attack_steps": 3},
        [f"pgd(epsilon={8 / 255},norm=linf,restarts=1,steps=3)"],
    ),
    "attack_restarts": (
        [*ATTACKED, "--attack-restarts", "2"],
        {**PGD, "attack_restarts": 2},
        [f"pgd(epsilon={8 / 255},norm=linf,restarts=2,steps=20)"],
    ),
    "request": (["--request", "suite.toml"], {"suite": "suite.toml"}, ["fog=0.25"]),
}
"""Words of the command and arguments of Python for each way to name conditions, and these."""

FORM: dict[str, tuple[str, str, Any]] = {
    "suite": ("own", "conditions", ["fog=0.4"]),
    "dataset_perturbations": ("fog", "conditions", ["fog=0.4"]),
    "strengths": ("0.4", "conditions", ["fog=0.4"]),
    "seed": ("7", "seed", 7),
    "dataset_fit": ("squash", "fit", {"squash"}),
    "dataset_side": ("240", "side", {240}),
    "tried_remedies": ("median", "remedies", ["median"]),
    "labelling": ("known", "labelling", "known"),
    "limit": ("3", "limit", 3),
}
"""The link to the form with each field set, what records it, and how it is read back."""


DOMAIN = """
name = "yard"
min_accuracy = 0.5
[ranges]
fog = [0, 0.3]
darkness = { value = [0, -1.2], unit = "stops" }
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return labelled_folder(tmp_path / "photos", 2)


def write_files() -> None:
    Path("suite.toml").write_text("[[condition]]\nfog = 0.25\n")
    Path("domain.toml").write_text(DOMAIN)


def the_manifest(folder: Path) -> Manifest:
    (entry,) = runs.listing(folder)
    return read(entry.folder)


def parsed(words: Sequence[str], out: Path) -> argparse.Namespace:
    """The options of a command that are ``words``."""
    parser = argparse.ArgumentParser()
    request.add_request(parser)
    options = parser.parse_args(list(words))
    options.parser = parser
    options.out = out
    return options


def test_every_option_is_recorded_alike_from_python_and_from_the_command(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    assert set(VALUES) == set(fields_of(RunOptions)), "write down how it is recorded"
    values = {name: value for name, (value, _, _) in VALUES.items()}
    assert changed(RunOptions, values) == list(fields_of(RunOptions))
    usual = rb.evaluate(photos, out=tmp_path / "usual", limit=6, conditions=["fog=0.2"])
    evaluated = rb.evaluate(
        photos, models=[MODEL], conditions=["fog=0.4"], out=tmp_path / "runs", **values
    )
    manifest = the_manifest(tmp_path / "runs")
    assert manifest.spec.model_names == (MODEL,)
    assert conditions(manifest) == ["fog=0.4"]
    for name, (_, _, expected) in VALUES.items():
        assert READ[name](manifest) == expected, name
        assert READ[name](usual.manifest) != expected, name
    for image in evaluated.frame()["image"].unique():
        assert evaluated.picture(image), "it is read as it was evaluated"
    again = runs.reevaluation_plan(manifest)
    assert (again.spec, again.record, again.batch) == (
        manifest.spec,
        manifest.dataset,
        manifest.batch,
    ), "it is repeated as it was evaluated"

    words = ["--models", MODEL, "--conditions", "fog=0.4"]
    for field in fields_of(RunOptions).values():
        _, word, _ = VALUES[field.name]
        words += [field.flag, word] if word else [field.flag]
    plan = request.plan(parsed(words, tmp_path / "command"), str(photos))
    assert (plan.spec, plan.record, plan.batch) == (
        manifest.spec,
        manifest.dataset,
        manifest.batch,
    )


def test_a_domain_is_recorded_with_the_conditions_that_cover_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_files()
    domain = rb.read_domain("domain.toml")
    run = rb.evaluate(photos, models=[MODEL], domain=domain, limit=2, out="runs")
    recorded = the_manifest(Path("runs")).spec
    assert recorded.domain == domain
    assert recorded.conditions == domain.conditions
    assert run.frame()["condition"].nunique() == len(domain.conditions)
    Path("again.toml").write_text(recorded.as_toml())
    assert rb.read_request("again.toml") == recorded
    with pytest.raises(ParameterError, match="domain or conditions"):
        rb.evaluate(photos, domain="domain.toml", conditions=["fog=0.2"])
    words = ["--models", MODEL, "--domain", "domain.toml"]
    assert request.plan(parsed(words, tmp_path / "command"), str(photos)).spec == recorded


@pytest.mark.parametrize("option", CONDITIONS)
def test_every_way_to_name_conditions_is_recorded(
    option: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    words, arguments, expected = CONDITIONS[option]
    plan = request.plan(parsed(words, tmp_path / "runs"), str(photos))
    assert [condition.id for condition in plan.spec.conditions] == expected
    assert rb.make_spec(**arguments).conditions == plan.spec.conditions
    assert set(fields_of(ConditionOptions)) < set(CONDITIONS), "write down how it is recorded"


def test_conditions_of_two_kinds_are_refused_from_python() -> None:
    for arguments, wrong in (
        ({"conditions": ["fog=0.2"], "strengths": [0.2]}, "conditions or strengths, got both"),
        ({"perturbations": ["fog"], "suite": "imagenet-c"}, "perturbations or a suite, got both"),
        ({"perturbations": ["pgd"], "strengths": [0.2]}, "Attacks take no strengths"),
        ({"epsilon": ["2/255"]}, "Expected an attack among the perturbations"),
    ):
        with pytest.raises(ParameterError, match=wrong):
            rb.make_spec(**arguments)


def test_a_suite_of_imagenet_c_has_all_severities() -> None:
    assert len(rb.make_spec(suite="imagenet-c").conditions) == 5 * 19


BESIDE_CONDITIONS = set(CONDITIONS) - {"conditions", "perturbations", "suite", "request"}
"""Options that say how strong conditions are, without those that argparse itself refuses."""


@pytest.mark.parametrize("option", sorted(BESIDE_CONDITIONS))
def test_an_option_that_sets_conditions_is_refused_beside_conditions(
    option: str, photos: Path, tmp_path: Path
) -> None:
    words, _, _ = CONDITIONS[option]
    options = parsed([*words[-2:], "--conditions", "fog=0.4"], tmp_path / "runs")
    with pytest.raises(ParameterError, match=r"Expected either .* got both"):
        request.plan(options, str(photos))


def test_beside_a_file_of_a_request_only_the_choice_of_images_counts(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    words_of = {"domain": ["--domain", "domain.toml"], "usual suite": ["--suite", "study"]}
    words_of |= {option: list(words[-2:]) for option, (words, _, _) in CONDITIONS.items()}
    for field in fields_of(RunOptions).values():
        _, word, _ = VALUES[field.name]
        words_of[field.name] = [field.flag, word] if word else [field.flag]
    del words_of["request"]
    for name, words in words_of.items():
        options = parsed(["--request", "suite.toml", *words], tmp_path / "runs")
        if name in fields_of(ImageOptions):
            assert request.plan(options, str(photos))
            continue
        with pytest.raises(ParameterError) as refused:
            request.plan(options, str(photos))
        assert str(refused.value) == f"Expected either suite.toml or {words[0]}, got both."


@pytest.fixture
def jobs_in_threads() -> Iterator[None]:
    with in_threads():
        yield


def test_every_field_of_the_form_is_recorded(
    jobs_in_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    link = {key: value for key, (value, _, _) in FORM.items()}
    app = run(ROOT / "pages" / "evaluations.py", question="compare", models=MODEL, **link)
    (variant,) = variants_of([MODEL], parse("median"))
    assert variant.label in texts(app)
    app.button(key="evaluate").click().run()
    assert not app.exception
    worked_off(tmp_path / "runs")
    manifest = the_manifest(tmp_path / "runs")
    assert manifest.spec.model_names == (MODEL,)
    for key, (_, record, expected) in FORM.items():
        assert READ[record](manifest) == expected, key
