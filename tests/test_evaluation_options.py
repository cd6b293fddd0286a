"""Every option of an evaluation reaches the manifest: of Python, of the command, and of the form.

An option that is accepted and not recorded gives a run that nobody can repeat, and whose images
seem to have changed. So the options are taken from the signature, the parser and the page; a new
one fails here until it is written down below with what the manifest has to say of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import robustness as rb
from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.base.errors import ParameterError
from robustness.cli import request
from robustness.measure.request import Request
from robustness.runs.manifest import Manifest, read
from tests.support.jobs import in_threads, worked_off
from tests.support.pages import run
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
    "models": lambda manifest: list(manifest.spec.model_names),
    "conditions": conditions,
    "domain": lambda manifest: manifest.spec.domain and manifest.spec.domain.name,
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
VALUES: dict[str, tuple[Any, Any]] = {
    "models": ([MODEL], [MODEL]),
    "conditions": (["fog=0.4"], ["fog=0.4"]),
    "seed": (7, 7),
    "fit": ("squash", {"squash"}),
    "side": (96, {96}),
    "remedies": (["median"], ["median"]),
    "labelling": ("known", "known"),
    "limit": (3, 3),
    "sample": (2, 2),
    "own_classes": (True, 2),
}
"""A value of each keyword that is no default, and how it is read back."""

WHERE_AND_HOW = {"source", "spec", "classes", "out", "resume", "engine", "address"}
TELLING = {"note", "progress"}
"""Other keywords: what is given, where the work is done, and who hears of it."""

ATTACKED = ["--perturbations", "pgd"]
COMMAND: dict[str, tuple[Words, str, Any]] = {
    "models": (["--models", MODEL], "models", [MODEL]),
    "conditions": (["--conditions", "fog=0.4"], "conditions", ["fog=0.4"]),
    "perturbations": (["--perturbations", "fog"], "conditions", ["fog=0.6"]),
    "strength": (["--perturbations", "fog", "--strength", "0.3"], "conditions", ["fog=0.3"]),
    "severities": (["--perturbations", "fog", "--severities", "1"], "conditions", ["fog=0.2"]),
    "suite": (["--suite", "suite.toml"], "conditions", ["fog=0.25"]),
    "domain": (["--domain", "domain.toml"], "domain", "yard"),
    "epsilon": (
        [*ATTACKED, "--epsilon", "4/255"],
        "conditions",
        [f"pgd(epsilon={4 / 255},norm=linf,restarts=1,steps=20)"],
    ),
    "attack_steps": (
        [*ATTACKED, "--attack-steps", "3"],
        "conditions",
        [f"pgd(epsilon={8 / 255},norm=linf,restarts=1,steps=3)"],
    ),
    "attack_restarts": (
        [*ATTACKED, "--attack-restarts", "2"],
        "conditions",
        [f"pgd(epsilon={8 / 255},norm=linf,restarts=2,steps=20)"],
    ),
    "seed": (["--seed", "7"], "seed", 7),
    "fit": (["--fit", "squash"], "fit", {"squash"}),
    "side": (["--side", "96"], "side", {96}),
    "remedies": (["--remedies", "median"], "remedies", ["median"]),
    "limit": (["--limit", "3"], "limit", 3),
    "sample": (["--sample", "2"], "sample", 2),
    "batch": (["--batch", "5"], "batch", 5),
    "own_classes": (["--own-classes"], "own_classes", 3),
    "labels": (["--labels", "known"], "labelling", "known"),
    "request": (["--request", "suite.toml"], "conditions", ["fog=0.25"]),
}
"""Words of the command for each of its options, what records it, and how it is read back."""

FORM: dict[str, tuple[str, str, Any]] = {
    "models": (MODEL, "models", [MODEL]),
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


FIELDS = {
    "models": "models",
    "conditions": "conditions",
    "framings": "side",
    "seed": "seed",
    "classes": "own_classes",
    "remedies": "remedies",
    "domain": "domain",
}
"""The option that sets each field of a request."""

NOT_IN_THE_FORM = {"own_classes", "domain"}

INSTEAD_OF_CONDITIONS = {"domain"}
"""Keywords that are refused beside conditions; each has a test of its own."""

DOMAIN = """
name = "yard"
min_accuracy = 0.5
[ranges]
fog = [0, 0.3]
darkness = { value = [0, -1.2], unit = "stops" }
"""


def test_every_field_of_a_request_can_be_set_in_python_by_the_command_and_in_the_form() -> None:
    fields = {field.name for field in dataclasses.fields(Request)}
    assert fields == set(FIELDS), "name the option of a new field in FIELDS"
    options = set(FIELDS.values())
    assert not options - set(VALUES) - INSTEAD_OF_CONDITIONS, "no keyword of rb.evaluate sets it"
    assert not options - {record for _, record, _ in COMMAND.values()}, "no option of the command"
    in_form = {record for _, record, _ in FORM.values()}
    assert not options - in_form - NOT_IN_THE_FORM, "no field of the form"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return labelled_folder(tmp_path / "photos", 2)


def write_files() -> None:
    Path("suite.toml").write_text("[[condition]]\nfog = 0.25\n")
    Path("domain.toml").write_text(DOMAIN)


def the_manifest(folder: Path) -> Manifest:
    (entry,) = runs.listing(folder)
    return read(entry.folder)


def test_every_keyword_of_an_evaluation_is_recorded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    keywords = set(inspect.signature(rb.evaluate).parameters)
    known = WHERE_AND_HOW | TELLING | INSTEAD_OF_CONDITIONS
    assert keywords - known == set(VALUES), "write down how it is recorded"
    usual = rb.evaluate(photos, out=tmp_path / "usual", limit=6, conditions=["fog=0.2"])
    values = {name: value for name, (value, _) in VALUES.items()}
    evaluated = rb.evaluate(photos, out=tmp_path / "runs", **values)
    manifest = the_manifest(tmp_path / "runs")
    for name, (_, expected) in VALUES.items():
        assert READ[name](manifest) == expected, name
        assert READ[name](usual.manifest) != expected, name
    for image in evaluated.frame()["image"].unique():
        assert evaluated.picture(image), "it is read as it was evaluated"


def test_a_domain_is_recorded_with_the_conditions_that_cover_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_files()
    domain = rb.read_domain("domain.toml")
    run = rb.evaluate(photos, models=[MODEL], domain=domain, limit=2, out="runs")
    request = the_manifest(Path("runs")).spec
    assert request.domain == domain
    assert request.conditions == domain.conditions
    assert run.frame()["condition"].nunique() == len(domain.conditions)
    Path("again.toml").write_text(request.as_toml())
    assert rb.read_request("again.toml") == request
    with pytest.raises(ParameterError, match="domain or conditions"):
        rb.evaluate(photos, domain="domain.toml", conditions=["fog=0.2"])


@pytest.mark.parametrize("option", COMMAND)
def test_every_option_of_the_command_is_recorded(
    option: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    parser = argparse.ArgumentParser()
    request.add_request(parser)
    names = {action.dest for action in parser._actions} - {"help"}
    assert names == set(COMMAND), "write down how it is recorded"
    words, record, expected = COMMAND[option]
    options = parser.parse_args(list(words))
    options.parser = parser
    options.out = tmp_path / "runs"
    with runs.start(request.plan(options, str(photos)), tmp_path / "runs"):
        manifest = the_manifest(tmp_path / "runs")
    assert READ[record](manifest) == expected


BESIDE_CONDITIONS = [
    option
    for option, (_, record, _) in COMMAND.items()
    if record == "conditions" and option not in ("conditions", "perturbations", "suite")
]
"""Options that say what the conditions are, without those that argparse itself refuses."""


@pytest.mark.parametrize("option", BESIDE_CONDITIONS)
def test_an_option_that_sets_conditions_is_refused_beside_conditions(
    option: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    parser = argparse.ArgumentParser()
    request.add_request(parser)
    flag_and_value = COMMAND[option][0][-2:]
    options = parser.parse_args([*flag_and_value, "--conditions", "fog=0.4"])
    options.parser = parser
    options.out = tmp_path / "runs"
    with pytest.raises(ParameterError, match=r"Expected either .* got both"):
        request.plan(options, str(photos))


@pytest.mark.parametrize("option", [name for name in COMMAND if name != "request"])
def test_every_option_beside_a_file_of_a_request_is_refused_or_recorded(
    option: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    parser = argparse.ArgumentParser()
    request.add_request(parser)
    words, record, expected = COMMAND[option]
    flag_and_value = words[-2:]  # without the perturbations that others need
    options = parser.parse_args(["--request", "suite.toml", *flag_and_value])
    options.parser = parser
    options.out = tmp_path / "runs"
    try:
        plan = request.plan(options, str(photos))
    except ParameterError as error:
        refusal = str(error)
    else:
        refusal = ""
        with runs.start(plan, tmp_path / "runs"):
            pass
        assert READ[record](the_manifest(tmp_path / "runs")) == expected
    assert not refusal or refusal.startswith("Expected either suite.toml or --")


@pytest.fixture
def jobs_in_threads() -> Iterator[None]:
    with in_threads():
        yield


def fields(app: AppTest) -> set[str]:
    """The keys of the fields on the page."""
    kinds = ("selectbox", "multiselect", "number_input", "button_group", "toggle", "checkbox")
    others = ("radio", "slider", "select_slider", "text_input", "text_area")
    found = {widget.key for kind in (*kinds, *others) for widget in app.get(kind)}
    return {key for key in found if key}


def test_every_field_of_the_form_is_recorded(
    jobs_in_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    link = {key: value for key, (value, _, _) in FORM.items()}
    app = run(ROOT / "pages" / "evaluations.py", question="compare", **link)
    assert fields(app) - {"question", "source"} == set(FORM), "write down how it is recorded"
    app.button(key="evaluate").click().run()
    assert not app.exception
    worked_off(tmp_path / "runs")
    manifest = the_manifest(tmp_path / "runs")
    for key, (_, record, expected) in FORM.items():
        assert READ[record](manifest) == expected, key
