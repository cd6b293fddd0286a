"""One figure, one value: what is printed is what the JSON documents say.

Of each of the ``RUNS``, all is printed: terminal, Markdown, the pages, and JSON. The law:

1. A cell of a table under a known heading is the figure of its model and condition, as ``TABLES``
   says; a cell of a map, too (``map_cell``).
2. The numbers of every other cell and of every sentence are figures, or counts, of the documents
   that it speaks of (``test_numbers_of_sentences_are_figures``).
3. What several documents say is equal (``test_documents_agree``).
4. Equal words have one denominator, and every cell of a map counts the same images.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_rows import APGD, FOG, PGD, severities
from benchmarks.support.synthetic_runs import ESPRESSO, with_column, with_images
from robustness import api, models, report, statistics
from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.text import counted, format_figure, milliseconds, points
from robustness.cli.main import main
from robustness.hardening import Hardening, Settings, judgement
from robustness.measure.condition import (
    Condition,
    as_profile,
    named,
    perturbation_label,
    series,
    setting,
    short,
)
from robustness.remedies import parse
from robustness.report import harden, match
from robustness.report.blocks import Map, Titled
from robustness.report.failures import property_title
from robustness.runs import Analysis, Run, analysis
from robustness.runs.cases import RowSelection
from tests.matching.test_run import example
from tests.support import pages
from tests.support.jobs import store_training
from tests.support.printed_figures import (
    Printed,
    markdown_tables,
    page_tables,
    sentences,
    texts_of,
    unsaid,
)
from tests.support.synthetic_remedies import CONDITIONS, MODELS, Made

Entry = Mapping[str, Any]
Say = Callable[[Entry], str]
Documents = Mapping[str, Any]

GRADED = tuple(Condition.of({name: at}) for name, at in severities("fog") if at)
CAMERA = as_profile([Condition.of({"darkness": at / 10}) for at in (1, 2, 3)])
RUNS: dict[str, dict[str, Any]] = {
    "no labels": {"labelled": False},
    "severities and a profile": {"conditions": (*GRADED, CONDITIONS[1], *CAMERA)},
    "attacks": {"conditions": (APGD, PGD)},
    "attack and fog, few labels": {"conditions": (APGD, FOG), "labelled": 0.4, "hard": [0]},
    "four images": {"images": 4},
    "ties": {"lone": "median"},
    "a safe threshold": {"conditions": (APGD, FOG), "telling": True, "images": 200},
    "a weak model": {"hard": [0], "weak": True},
    "one class under attack": {"conditions": (APGD,), "classes": [ESPRESSO]},
}
BUDGET = """
[[limit]]
min_consistency = 0.5
max_regression = 0.1
[[limit]]
perturbation = "*"
min_consistency = 0.5
max_regression = 0.1
"""
SUITE = "[[limit]]\nmax_accepted_error = 0.05\nmin_accepted = 0.2\n"
HARDEN = ("--name", "hard", "--images", "a folder", "--perturbations", "fog")
VIEWS = ("compare", "failures", "fix", "images")

# --- how a figure is written ----------------------------------------------------------------------

Form = str | Callable[[float], str]


@dataclass(frozen=True)
class Written:
    """The figure ``name`` of an entry as text, "" if it is unknown or not ``only`` for this entry.

    ``bounds`` adds the interval in parentheses; ``unit`` follows.
    """

    name: str
    form: Form = ".1%"
    bounds: bool = False
    unit: str = ""
    only: Callable[[Entry], bool] = lambda entry: True

    def __call__(self, entry: Entry) -> str:
        if entry[self.name] is None or not self.only(entry):
            return ""
        interval = Between(self.name, self.form, "")(entry) if self.bounds else ""
        value = self.text(entry[self.name])
        return f"{value} ({interval})" if interval else f"{value}{self.unit}"

    def text(self, value: float) -> str:
        return format_figure(value, self.form) if isinstance(self.form, str) else self.form(value)


@dataclass(frozen=True)
class Between:
    """The interval of the figure ``name``."""

    name: str
    form: Form = ".1%"
    unknown: str = "no interval"

    def __call__(self, entry: Entry) -> str:
        low, high = entry[f"{self.name}_low"], entry[f"{self.name}_high"]
        if low is None or high is None:
            return self.unknown
        write = Written(self.name, self.form).text
        return f"{write(low)} to {write(high)}"


@dataclass(frozen=True)
class Broken:
    """The attacks that succeed, and of how many images that had a prediction to break."""

    name: str

    def __call__(self, entry: Entry) -> str:
        images = "image" if entry.get("of") == "consistency" else "correct image"
        share = Written(self.name, bounds=True)(entry)
        return f"{share} of {counted(entry['n_attacked'], images)}"


def model(entry: Entry) -> str:
    return models.label(entry["model"])


def condition(entry: Entry) -> str:
    return short(entry["condition"])


def labelled(entry: Entry) -> str:
    return f"{entry['n_labelled']} of {entry['n_images']}"


def rank(entry: Entry) -> str:
    low, high = entry["place_low"], entry["place_high"]
    return f"{low}" if low == high else f"{low} to {high}"


def latency(entry: Entry) -> str:
    low, high = (milliseconds(entry[f"latency_{end}_ms"]) for end in ("low", "high"))
    return f"{milliseconds(entry['latency_ms'])} ms ({low} to {high})"


def leaves_out(entry: Entry) -> bool:
    """Whether an attack had no prediction to break in some images."""
    return entry["n_attacked"] is not None and bool(entry["n_attacked"] < entry["n_images"])


def images_met(entry: Entry) -> str:
    attacked = f", {entry['n_attacked']} attacked" if leaves_out(entry) else ""
    return f"{entry['n_images']}{attacked}"


def measured(verdict: Entry) -> str:
    """The figure of a limit, and what it is of where that is not every image."""
    if verdict["value"] is None:
        return "no threshold"
    what = ""
    if verdict["of"] == "robust_accuracy":
        what = " of robust accuracy"
    elif verdict["limit"] == "min_consistency" and verdict["perturbation"] in ATTACKS:
        what = " of predictions to break"
    elif verdict["attacked"] is not None and verdict["attacked"] < verdict["images"]:
        what = ", under attack of predictions to break"
    low, high = verdict["low"], verdict["high"]
    value = format_figure(verdict["value"], ".1%")
    form: Form = ".1%"
    if is_loss(verdict):
        value = counted(points(verdict["value"], ".1f"), "point")
        form = loss
    interval = "fewer than 5 images: no interval"
    if low is not None:
        interval = Between("value", form)({"value_low": low, "value_high": high})
    return f"{value}{what} ({interval})"


def is_loss(verdict: Entry) -> bool:
    return bool(verdict["limit"] == "max_regression")


def loss(value: float) -> str:
    return points(value, ".1f")


def wanted(verdict: Entry) -> str:
    """The limit of a verdict, in points where it is one of a loss."""
    if is_loss(verdict):
        return counted(f"{100 * verdict['wanted']:g}", "point")
    return Written("wanted", ".0%")(verdict)


# --- the law of the tables ------------------------------------------------------------------------


class Law(NamedTuple):
    """What a table says that has all headings of ``row`` and of ``cells``.

    ``entries`` are the figures in the documents, ``row`` tells whose a row is, and each of the
    ``cells``, and of the ``others`` that are not always there, is that figure. It holds at the
    ``places`` whose name begins so.
    """

    entries: Callable[[Documents], Iterable[Entry]]
    row: Mapping[str, Say]
    cells: Mapping[str, Say]
    others: Mapping[str, Say] = MappingProxyType({})
    places: str = ""


def part(document: str, name: str) -> Callable[[Documents], Iterable[Entry]]:
    return lambda documents: documents[document][name]


lost = partial(points, form=".1f")
CONSISTENCY = ("Consistency", "Consistency, under attack of predictions to break")
GAINS = ("accuracy", "consistency", "accuracy or consistency")
WRONG = ("Wrong among accepted", "Changed among accepted")
ACCURACIES: Mapping[str, Say] = {
    "Labelled images": labelled,
    "Original top-1": Written("clean_accuracy"),
    "Perturbed top-1": Written("perturbed_accuracy"),
    "Accuracy lost, points": Written("drop", lost),
    "95% interval of Accuracy lost, points": Between("drop", lost),
    "Relative loss": Written("relative_drop"),
}

BOTH: Mapping[str, Say] = {
    "Better": lambda entry: models.label(entry["better"]),
    "Worse": lambda entry: models.label(entry["worse"]),
}
DIFFERENCES: Mapping[str, Say] = {
    "Images": Written("n_images", ","),
    "Difference, points": Written("difference", points),
    "95% interval of Difference, points": Between("difference", points, "none"),
    "p, corrected": Written("p_holm", ".4f"),
}

TABLES = (
    Law(  # the ranking
        part("report", "summary"),
        {"Model": model},
        {
            "Cosine, rescaled": Written("cosine_rescaled", ".3f"),
            "Euclidean, rescaled": Written("euclidean_rescaled", ".3f"),
        },
        {
            **{heading: Written("consistency") for heading in CONSISTENCY},
            **{f"95% interval of {heading}": Between("consistency") for heading in CONSISTENCY},
            "Perturbed accuracy": Written("perturbed_accuracy"),
            "95% interval of Perturbed accuracy": Between("perturbed_accuracy"),
            "Original accuracy": Written("clean_accuracy"),
            "Robust accuracy": Written("robust_accuracy", bounds=True),
            "Attacks succeed": Broken("attack_success"),
            "Labelled images": labelled,
        },
    ),
    Law(  # the choice
        part("choose", "models"),
        {"Model": lambda entry: str(entry["label"])},
        {"Rank": rank, "Robustness": Written("robust", bounds=True), "Latency": latency},
        {
            "Accuracy": Written("accuracy"),
            "First": Written("certainty", ".0%"),
            "Memory": Written("memory_megabytes", ".0f", unit=" MB"),
            "Size": Written("megabytes", ".1f", unit=" MB"),
        },
    ),
    Law(part("report", "compare"), BOTH, DIFFERENCES, places="(?!page failures)"),
    Law(lambda documents: documents["under attack"], BOTH, DIFFERENCES, places="page failures"),
    Law(  # conditions
        part("report", "by_perturbation"),
        {
            "Model": model,
            "Perturbation": lambda entry: perturbation_label(entry["perturbation"]),
            "Strength": lambda entry: setting(entry["condition"]),
        },
        {
            "Images": images_met,
            "Consistency": Written("consistency", bounds=True, only=lambda e: not leaves_out(e)),
            "SSIM": Written("ssim", ".3f"),
        },
        {
            "Consistency of attacked": Written("consistency", bounds=True, only=leaves_out),
            "Labelled images": labelled,
            "Accuracy lost, points": Written("drop", lost, bounds=True),
        },
    ),
    Law(  # robust accuracy
        part("report", "robust_accuracy"),
        {
            "Model": model,
            "Measured by": lambda entry: NORMS[entry["norm"]].label,
            "Epsilon": Written("epsilon", "g"),
        },
        {
            "Attacks": Written("attacks", ","),
            "Images": Written("n_images", ","),
            "Robust": Written("robust", bounds=True),
            "Attacks succeed": Broken("success"),
            "robust to it": Written("strongest_left"),
        },
    ),
    Law(part("report", "summary"), {"Model": model}, ACCURACIES),
    Law(  # calibration
        part("report", "summary"),
        {"Model": model},
        {
            "Original ECE": Written("clean_ece", ".3f", bounds=True),
            "Perturbed ECE": Written("perturbed_ece", ".3f", bounds=True),
        },
    ),
    Law(  # classes
        part("report", "by_class"),
        {"Class": lambda entry: str(entry["class_name"]), "Model": model},
        {
            "Images": Written("n_images", ","),
            "Original": Written("clean_accuracy", ".0%"),
            "Perturbed": Written("perturbed_accuracy", ".0%"),
            "Lost, points": Written("drop", lost),
            "95% interval of Lost, points": Between("drop", lost),
        },
    ),
    Law(  # failures that models share
        part("failures", "pairs"),
        {"Models": lambda entry: f"{model(entry)} and {models.label(entry['other'])}"},
        {
            "Predictions": Written("n_predictions", ","),
            "Only the first fails": Written("model_only", ","),
            "Only the second fails": Written("other_only", ","),
            "Both fail": Written("both", ","),
        },
    ),
    Law(  # slices
        part("failures", "slices"),
        {"Slice": lambda entry: property_title(entry["column"], entry["value"]), "Model": model},
        {
            "Images": Written("n_images", ","),
            "Rate": Written("rate", bounds=True),
            "Other images": Written("rest"),
            "Difference in points": Written("difference", points),
            "Corrected p": Written("p", ".3f"),
        },
    ),
    Law(  # remedies
        lambda documents: documents["gains"],
        {
            "Model": model,
            "Condition": condition,
            "Remedy": lambda entry: parse(entry["remedy"]).label,
        },
        {
            "Change on originals, points": lambda entry: points(-entry["cost_on_originals"]),
            "Time": Written("milliseconds", milliseconds, unit=" ms"),
        },
        {f"Gain in {of}, points": Written("gain", points, bounds=True) for of in GAINS},
    ),
    Law(  # safe thresholds
        lambda documents: accepted(documents, ["suite"]),
        {"Model": model},
        {
            "Accept from": Written("threshold", "g"),
            "Accepted, originals": Written("accepted_original"),
            "Accepted, perturbed": Written("accepted"),
        },
        {heading: Written("error", bounds=True) for heading in WRONG},
    ),
    Law(  # what a threshold does under each condition
        lambda documents: accepted(documents),
        {"Model": model, "Condition": condition},
        {"Tested from": Written("tested", "g"), "Accepted": Written("accepted")},
        {heading: Written("error", bounds=True) for heading in WRONG},
    ),
    Law(  # the gate
        part("check", "verdicts"),
        {
            "Model": Written("model", str),
            "Condition": Written("where", str),
            "Limit": Written("limit", str),
        },
        {"Expected": wanted, "Measured": measured},
    ),
)


def accepted(documents: Documents, conditions: Sequence[str] = ()) -> Iterator[Entry]:
    """What a threshold accepts, an entry by model and condition; all ``conditions`` by default."""
    for entry in documents["threshold"]["models"]:
        for name in conditions or entry["status"]:
            tested = entry["strongest"] if entry["threshold"] is None else entry["threshold"]
            error = entry["error"][name]
            yield {
                **entry,
                "condition": name,
                "tested": tested,
                "accepted": entry["accepted"][name],
                "accepted_original": entry["accepted"].get("original"),
                "error": error["value"],
                "error_low": error["low"],
                "error_high": error["high"],
            }


QUANTITIES = {
    "Perturbed accuracy": "perturbed_accuracy",
    "Prediction consistency": "consistency",
    "Robust accuracy": "robust_accuracy",
}


def compared(documents: Documents, title: str, row: Mapping[str, str]) -> Mapping[str, str]:
    """The cells of a ``row`` of the table ``title`` of a comparison of two runs."""
    name = QUANTITIES[title.removesuffix(" by condition")]
    where = ("", "")
    if "Perturbation" in row:
        where = (row["Perturbation"], row["Strength"])
    if where[0] == "Originals":
        name, where = "clean_accuracy", ("", "")
    for entry in documents["compare"][0]["differences"]:
        met = ("", "")
        if entry["condition"] is not None:
            met = (perturbation_label(entry["perturbation"]), setting(entry["condition"]))
        if (model(entry), met) == (row["Model"], where):
            return {
                "Images": Written(f"{name}_images", ",")(entry),
                "Baseline": Written(f"{name}_a")(entry),
                "This run": Written(f"{name}_b")(entry),
                "Change, points": Written(f"{name}_difference", points)(entry),
                "95% interval of Change, points": Between(f"{name}_difference", points, "none")(
                    entry
                ),
            }
    raise AssertionError(row)


def cell_of_map(documents: Documents, quantity: str, label: str, name: str) -> str:
    """The cell of a map of shares in the row ``label``, of the model ``name``."""
    figures = {
        part: [entry for entry in entries if entry["model"] == name]
        for part, entries in documents["report"].items()
        if part in ("summary", "by_perturbation", "robust_accuracy")
    }
    if label == "Originals":
        return Written("clean_accuracy", bounds=True)(figures["summary"][0])
    for entry in figures["robust_accuracy"]:
        if label == f"Attacks, {NORMS[entry['norm']].label} {entry['epsilon']:g}":
            of_all = "robust" if quantity == "perturbed_accuracy" else "unchanged"
            return Written(of_all, bounds=True)(entry)
    entries = [e for e in figures["by_perturbation"] if e["series"].lower() == label.lower()]
    if len(entries) == 1:
        return Written(quantity, bounds=True)(entries[0])
    entries.sort(key=lambda entry: float(entry["strength"]))
    return ", ".join(f"{e['severity']}: {Written(quantity, '.0%')(e)}" for e in entries)


# --- the worlds -----------------------------------------------------------------------------------


def with_properties(made: Made) -> Run:
    """Its run, with a number for each image, and a camera on whose images one model fails."""
    wrong, numbers = made.top["", MODELS[0]][:, -1] != made.labels, np.arange(len(made.labels))
    cameras = np.where(wrong | (numbers % 3 == 0), "A", "B").tolist()

    def change(table: pa.Table) -> pa.Table:
        return with_column(with_column(table, "iso", numbers.tolist()), "camera", cameras)

    return with_images(made.run, change)


TRAINED = "perturbed_accuracy"


def training(lost: float = 0.0, gained: float = 0.4, *, labelled: bool = True) -> Hardening:
    """A training that loses so much on originals, and gains so much under three perturbations."""
    before, after = np.random.default_rng(0).random((2, 80, 4))
    fog, *unseen = (Condition.of({name: 0.5}) for name in ("fog", "rotation", "contrast"))
    counts: dict[str, Any] = {"train": 1090, "choose": 10, "left_out": 3, "unreadable": 1}
    return Hardening(
        *("SqueezeNet", "hard", ("fog",), Settings(), 0.25),
        **counts,
        judgement=judgement.judge_training(
            before < [0.9, *[0.5] * 3],
            after < [0.9 - lost, *[0.5 + gained] * 3],
            *([fog], unseen),
            labelled=labelled,
        ),
        file="hard.xml",
    )


CONSTANT = (
    *(
        "95% interval",
        "95% certain",
        "under 5%",
        "at most 5%",
        "more than 5%",
        "1-point",
        "1 point",
    ),
    *("Median 3 x 3", "2 cores", "two cores", "2026-01-02 03:04 UTC", "100 labelled originals"),
    *("at least 20 images", "above 1 point", "above 1 points", "p below 0.05", "excludes 0"),
)
"""Words with numbers that are no figures."""


class World:
    """A generated run, an earlier one of the same images, and all that is printed of them."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.runs = folder / "runs"
        self.before = Made(folder / "before", **RUNS[name], seed=2, runs=self.runs).run
        made = Made(folder / "made", **RUNS[name], runs=self.runs)
        self.run = with_properties(made) if RUNS[name].get("telling") else made.run
        self.labelled = RUNS[name].get("labelled", True)
        self.content = report.of_run(self.run)
        self.documents: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.pages: dict[str, str] = {}

    @cached_property
    def tables(self) -> list[tuple[str, Printed]]:
        """Every table, and where it is printed."""
        texts = self.texts.items()
        found = [(place, table) for place, text in texts for table in markdown_tables(text)]
        found += [(at, table) for at, text in self.pages.items() for table in page_tables(text)]
        return found

    @cached_property
    def names(self) -> list[str]:
        """What holds numbers that are no figures."""
        ids = [condition.id for condition in self.run.conditions]
        words = [say(text) for text in ids for say in (short, named, series, str)]
        return [*words, *map(models.label, MODELS), *MODELS, *CONSTANT]

    @property
    def sentences(self) -> Iterator[tuple[str, Any]]:
        """The sentences of answers and of the terminal, each with what it speaks of."""
        report_ = self.documents["report"]
        chosen = {k: v for k, v in self.documents["choose"].items() if k != "sentences"}
        leads = report_["compare"]
        summary = report_["summary"]
        choice = [chosen, leads, report_["robust_accuracy"], self.run.images]
        of_model = [
            [e["clean_accuracy"], e["perturbed_accuracy"], e["n_labelled"]] for e in summary
        ]
        pooled = self.run.manifest.spec.pooled_conditions
        sizes = [len(leads), len(summary), len(pooled), self.run.images]
        decided = [len([e for e in leads if e["established"]]), len(summary)]
        about = {
            "Which model is most robust?": choice,
            "Which perturbation does most harm?": self.harm(),
            "What is this based on?": [of_model, sizes, decided],
            "What should we fix?": report_["fixes"],
        }
        for question, answer in self.content.answers:
            for text in re.split(r"(?<=\.) (?=[A-Z])", answer):
                is_lead = "ahead of" in text or "worse" in text
                yield text, leads if is_lead and about[question] is choice else about[question]
        verdicts = self.documents["check"]["verdicts"]
        undecided = sum(verdict["outcome"] == "not shown" for verdict in verdicts)
        everything = [self.documents, len(verdicts), undecided]
        for place, text in self.texts.items():
            if place != "report":
                for line in sentences(text):
                    of = [choice, report_["thresholds"]] if place == "choose" else everything
                    yield line, leads if "ahead of" in line else of

    def harm(self) -> list[float]:
        """The share of each model that a perturbation leaves, and the mean of the models."""
        by = self.documents["report"]["summary"][0]["ranked_by"]
        quantity = "consistency" if by == "consistency" else "perturbed_accuracy"
        shares: dict[str, list[float]] = {}
        for entry in self.documents["report"]["by_perturbation"]:
            shares.setdefault(entry["condition"], []).append(entry[quantity])
        means = [float(np.mean(each)) for each in shares.values()]
        return [*means, *(share for each in shares.values() for share in each), len(MODELS)]


MAPS = {"Share correct": "perturbed_accuracy", "Share of predictions unchanged": "consistency"}


def laws_of(place: str, table: Printed) -> list[Law]:
    """The laws that a table is under; one, or none."""
    heads = {*table.head}
    laws = [law for law in TABLES if re.match(law.places, place)]
    return [law for law in laws if heads >= {*law.row, *law.cells}]


def entries_of(
    law: Law, table: Printed, documents: Documents
) -> Iterator[tuple[dict[str, str], Entry]]:
    """The rows of ``table``, each with its figures."""
    entries = {
        tuple(say(entry) for say in law.row.values()): entry for entry in law.entries(documents)
    }
    for row in table.rows:
        if row.get("Accept from") != "none":
            yield row, entries[tuple(row[heading] for heading in law.row)]


WORLDS: dict[str, World] = {}


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    """All that is printed of a run, each run once."""
    name = request.param
    if name in WORLDS:
        return WORLDS[name]
    world = World(name, tmp_path)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(world.runs))
    run = str(world.run.folder)
    before = str(world.before.folder)
    budget = tmp_path / "budget.toml"
    attacks_alone = all(each.needs_model for each in world.run.conditions)
    has_suite = not attacks_alone and world.run.images >= 20
    budget.write_text(BUDGET + SUITE if has_suite else BUDGET)
    commands = {
        "choose": ["choose", run],
        "failures": ["failures", run],
        "threshold": ["threshold", run],
        "fixes": ["fixes", run],
        "check": ["check", run, "--budget", str(budget), "--baseline", before],
        "compare": ["runs", "compare", before, run],
    }
    if name == "a weak model":
        answer = training()
        store_training(world.run.folder, answer)
        monkeypatch.setattr("robustness.api.runs.harden", lambda *_, **__: answer)
        commands["harden"] = ["harden", "SqueezeNet", *HARDEN]
        world.content = report.of_run(world.run)

    def command(*words: str) -> str:
        capsys.readouterr()
        assert main([*words]) in (0, 1)
        return capsys.readouterr().out

    for place, words in commands.items():
        world.texts[place] = command(*words)
        world.documents[place] = json.loads(command(*words, "--json"))
    for ending in ("json", "md"):
        command("report", run, "--to", str(tmp_path / f"report.{ending}"))
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    del document["rows"]
    world.documents["report"] = document
    printed = (tmp_path / "report.md").read_text(encoding="utf-8")
    world.texts["report"] = printed.partition("### Limits")[0]
    world.documents["gains"] = api.gains(world.run)
    world.documents["published"] = statistics.published(list(models.REGISTRY.names))
    world.documents["under attack"] = Analysis(world.run).figures.pairs_under_attack
    for view in VIEWS:
        app = pages.run(ROOT / "pages" / "evaluations.py", run=world.run.folder.name, view=view)
        world.pages[f"page {view}"] = pages.html(app)
    WORLDS[name] = world
    return world


# --- tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_a_report_names_the_remedies_that_were_tried(world: World) -> None:
    assert parse("median").label in dict(world.content.facts)["Remedies"]


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_cells_of_tables_are_the_figures_of_the_documents(world: World) -> None:
    known = 0
    for place, table in world.tables:
        for law in laws_of(place, table):
            for row, entry in entries_of(law, table, world.documents):
                for heading, say in {**law.cells, **law.others}.items():
                    if heading in row:
                        assert row[heading] == say(entry), (place, table.title, heading, row)
                        known += 1
    assert known > 50


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_cells_of_maps_are_the_figures_of_the_documents(world: World) -> None:
    (table,) = [table for _, table in world.tables if table.title in MAPS]
    model_of = {models.label(name): name for name in MODELS}
    for row in table.rows:
        label, *cells = row.values()
        for heading, cell in zip(table.head[1:], cells, strict=True):
            name = model_of[heading.partition(" (")[0]]
            assert cell == cell_of_map(world.documents, MAPS[table.title], label, name), row


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_cells_of_a_comparison_are_the_figures_of_its_document(world: World) -> None:
    tables = [t for at, t in world.tables if at == "compare" and t.title]
    for table in tables:
        for row in table.rows:
            for heading, text in compared(world.documents, table.title, row).items():
                assert row[heading] == text, (table.title, row)
    assert tables or world.name == "four images"


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_numbers_of_sentences_are_figures_of_their_document(world: World) -> None:
    known: dict[int, tuple[Any, set[str]]] = {}  # with the documents, whose id is theirs meanwhile
    for text, documents in world.sentences:
        if id(documents) not in known:
            known[id(documents)] = documents, texts_of(documents)
        assert not unsaid(text, world.names, known[id(documents)][1]), text
    said = texts_of(world.documents, [len(each) for each in world.documents["fixes"]])
    for place, table in world.tables:  # the other cells, such as a gain within words
        if not laws_of(place, table) and table.title not in MAPS and "Command" not in table.head:
            for row in table.rows:
                for text in row.values():
                    assert not unsaid(text, world.names, said), (place, row)


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_documents_agree(world: World) -> None:
    """What is told of the same model and condition in several documents is the same."""
    documents, report_ = world.documents, world.documents["report"]
    summary = {entry["model"]: entry for entry in report_["summary"]}
    conditions = {(e["model"], e["condition"]): e for e in report_["by_perturbation"]}
    failures = documents["failures"]
    assert failures["slices"] == report_["slices"]
    assert failures["pairs"] == report_["agreement"]
    assert failures["changes"] == report_["changed_classes"]
    assert failures["risk_coverage"] == report_["risk_coverage"]
    assert documents["fixes"] == report_["fixes"]
    assert documents["threshold"]["models"] == report_["thresholds"]
    told = api.open_run(str(world.run.folder)).summary().to_dict("records")
    headline = analysis.compute_headline(world.run.folder, world.run.manifest).models
    entries: list[Any] = [*told, *headline]
    for entry in entries:
        same = summary[entry["model"]]
        for name in {*entry} & {*same}:
            assert entry[name] == same[name] or (pd.isna(entry[name]) and same[name] is None)

    chosen = documents["choose"]
    for entry in chosen["models"]:
        same = summary[entry["model"]]
        assert entry["accuracy"] == same["clean_accuracy"]
        if not Analysis(world.run).figures.choice.unshared:
            for end in ("", "_low", "_high"):
                found = same[f"{chosen['quantity']}{end}"]
                assert entry[f"robust{end}"] == pytest.approx(found), end

    for model_name, curve in ((each["model"], each) for each in report_["risk_coverage"]):
        kept = [
            entry[failures["quantity"]]
            for (name, _), entry in conditions.items()
            if name == model_name and entry["perturbation"] not in ATTACKS
        ]
        if CAMERA[0] not in world.run.conditions:
            assert curve["risk"][-1] == pytest.approx(1 - np.mean(kept)), "attacks are left out"

    for entry in documents["check"]["verdicts"]:
        if entry["limit"] == "min_consistency":
            same = summary[entry["model"]]
            if entry["condition"]:
                same = conditions[entry["model"], entry["condition"]]
            for field, end in {"value": "", "low": "_low", "high": "_high"}.items():
                assert entry[field] == same[f"consistency{end}"]

    for entry in documents["compare"][0]["differences"]:
        if entry["condition"] is None and not Analysis(world.run).figures.choice.unshared:
            for name in ("clean_accuracy", "perturbed_accuracy", "robust_accuracy"):
                if entry[f"{name}_b"] is not None:
                    assert entry[f"{name}_b"] == pytest.approx(summary[entry["model"]][name])

    gains = {(e["model"], e["condition"], e["remedy"]): e for e in documents["gains"]}
    for entry in documents["fixes"]:
        if entry["kind"] == "remedy" and entry["gain"] is not None:
            same = gains[entry["model"], entry["condition"], entry["remedy"]]
            assert entry["gain"] == same["gain"]

    for entry in report_["over_models"]:
        of_models = [
            np.mean(
                [
                    e["consistency"]
                    for (m, _), e in conditions.items()
                    if m == name and e["series"] == entry["series"]
                ]
            )
            for name in MODELS
        ]
        assert entry["consistency"] == pytest.approx(np.mean(of_models)), "the mean of the models"


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_the_images_of_a_cell_are_as_many_as_it_says(world: World) -> None:
    """The images that fail, out of those that count."""
    if world.labelled not in (True, False):
        return
    for entry in world.documents["report"]["by_perturbation"]:
        if entry["condition"] in world.run.manifest.spec.profiles:
            continue  # its images count under any composition
        selection = RowSelection(entry["model"], conditions=(entry["condition"],))
        tally = world.run.cases.tally(selection)
        images = tally.by_label if world.labelled else tally.by_change
        share = entry["perturbed_accuracy" if world.labelled else "consistency"]
        assert images.bad / images.counted == pytest.approx(1 - share)


TO_BREAK = {"success", "attack_success"}
EVERY = {"robust", "unchanged", "drop"}


def denominator(name: str, entry: Entry) -> str:
    """The images that the share ``name`` counts: "every" one, or those with some "to break"."""
    if name in TO_BREAK:
        return "to break"
    if name in EVERY or "accuracy" in name:
        return "every"
    if name != "consistency":
        return ""
    return "to break" if leaves_out(entry) else "every"


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_equal_words_have_one_denominator(world: World) -> None:
    denominators: dict[str, set[str]] = {}
    for place, table in world.tables:
        for law in laws_of(place, table):
            for row, entry in entries_of(law, table, world.documents):
                for heading, say in {**law.cells, **law.others}.items():
                    if row.get(heading) and hasattr(say, "name"):
                        of = denominator(say.name, entry)
                        denominators.setdefault(heading, set()).update({of} - {""})
    assert denominators
    assert not {words: kinds for words, kinds in denominators.items() if len(kinds) > 1}


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_every_cell_of_a_map_counts_the_same_images(world: World) -> None:
    """A model has as many images in each cell, under attack as well."""
    maps = [block for block in world.content.brief if isinstance(block, Map)]
    assert maps
    for drawing in [block.drawing for block in maps]:
        for at, model_name in enumerate(drawing.columns):
            strips = [row.strips[at] for row in drawing.rows]
            titles = [tile.title for strip in strips if strip for tile in strip.tiles]
            counts = {count for title in titles for count in re.findall(r"n = ([\d,]+)", title)}
            assert len(counts) == 1, (model_name, titles)


@pytest.mark.parametrize(
    ("lost", "gained", "with_labels"),
    [(-0.1, 0.4, True), (0.2, 0, True), (0.02, 0.4, True), (0.5, 0.4, True), (0, 0.4, False)],
)
def test_the_figures_of_a_training_are_those_of_its_document(
    lost: float, gained: float, with_labels: bool
) -> None:
    answer = training(lost, gained, labelled=with_labels)
    document: dict[str, Any] = answer.as_dict()
    names = [*CONSTANT, *map(models.label, MODELS)]
    said = texts_of(document, answer.judgement.more_images or 0)
    for text in harden.sentences(answer):
        assert not unsaid(text, names, said), text
    groups = {group["name"]: group for group in document["judgement"]["groups"]}
    (table,) = [b.table for b in harden.blocks(answer) if isinstance(b, Titled)]
    for row, group in zip(table.rows, groups.values(), strict=True):
        _, before, after, difference, _ = row
        assert before == format_figure(group["before"], ".1%")
        assert after == format_figure(group["after"], ".1%")
        low, high = (points(group[end]) for end in ("low", "high"))
        assert difference == f"{points(group['difference'])} ({low} to {high})"


def test_the_accuracies_of_a_match_are_those_of_its_document() -> None:
    answer = example(0.3, 0.5)
    entries = answer.as_dict()["expected_accuracy"]
    printed = " ".join(match.sentences(answer))
    for entry in entries:
        low, high = (points(entry[end], ".0f") for end in ("low", "high"))
        value = format_figure(entry["value"], ".0%")
        assert f"{models.label(entry['model'])} {value} ({low} to {high})" in printed
    assert entries
