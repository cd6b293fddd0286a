"""One figure, one value: figures with the same key have the same value, wherever they are printed.

A key says what a figure is of (quantity, model, condition, remedy, set of conditions), never where
it stands. The function that writes a figure makes its key, and the block that prints it holds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_rows import APGD, FOG, PGD, severities
from benchmarks.support.synthetic_runs import ESPRESSO, with_column, with_images
from robustness import api, report
from robustness.base import text
from robustness.base.text import Figure, Key, key_of
from robustness.charts.run_and_change_maps import ORIGINALS
from robustness.commands.main import main
from robustness.evaluation.perturbation_and_attack_conditions import Condition, as_profile, series
from robustness.hardening import Hardening, Settings, judgement
from robustness.report import hardening_report, match_report
from robustness.report.blocks import Chart, Chooser, Map, Section, Titled
from robustness.runs import Run, headline_figures, jobs
from robustness.runs.row_selection import RowSelection
from tests.matching.test_match import example
from tests.support import pages
from tests.support.synthetic_remedies import CONDITIONS, MODELS, Made

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
BOUNDS = {"value": "", "low": "_low", "high": "_high"}
OPPOSITE = {"_low": "_high", "_high": "_low", "": ""}
SCORES = {"robust", "own", "certainty", "place"}
HARDEN = ("--name", "hard", "--images", "a folder", "--perturbations", "fog")
VIEWS = ("compare", "failures", "fix", "images")
NUMBER = re.compile(r"\d+\.\d%|[+-]\d+\.\d\b|\b\d\.\d{3}\b|\d+%")
CONSTANTS = re.compile(
    r"95% (intervals?|certain)|(at most|under|than) 5%|chance of 5%|random 30%"
    r"|(?<=\| )(50|20|10|5)%(?= +\|)"  # limits of the budget
)


def strings(value: Any) -> Iterator[str]:
    """The texts that ``value``, a report or a block of one, prints, with every option."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Chooser):
        for option in value.options:
            yield from strings(value.read(option))
    elif isinstance(value, Chart):
        yield from (value.alt, value.note)
    elif isinstance(value, Mapping):
        yield from strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)
    elif is_dataclass(value) and not callable(getattr(value, "read", None)):
        yield from strings([getattr(value, f.name) for f in fields(value) if f.name != "help"])


def loose(written: str) -> list[str]:
    """The numbers in a text that are no figures with keys."""
    rest = CONSTANTS.sub("", written)
    for figure in sorted(getattr(written, "figures", ()), key=lambda each: -len(each.text)):
        assert figure.text in written
        rest = re.sub(rf"(?<![\w.,]){re.escape(figure.text)}(?!\w)", "", rest)
    return NUMBER.findall(rest)


def document_figures(value: Any, of: Mapping[str, Any], name: str = "") -> Iterator[Any]:
    """(key, number) of the figures in ``value``, which JSON holds, under ``name``."""
    if isinstance(value, list):
        for each in value:
            if isinstance(each, dict | list):
                yield from document_figures(each, of, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if len(key := key_of({**of, name: value}, name)) > 1:
            yield key, value
    elif isinstance(value, dict) and name in ("accepted", "error"):
        for condition, each in value.items():
            bounds = each if isinstance(each, dict) else {"value": each}
            yield from document_figures(named(name, bounds), {**of, "condition": condition})
    elif isinstance(value, dict) and "limit" in value:
        yield from verdict_figures(value)
    elif isinstance(value, dict):
        own = {key: each for key, each in value.items() if not isinstance(each, dict | list)}
        quantity = "" if "kind" in value else value.get("quantity", "")  # none of a fix
        of = {**of, **own, "quantity": quantity}
        for key, each in value.items():
            if isinstance(each, dict) and {*each} <= {*BOUNDS}:
                each = named(key, each)
            yield from document_figures(each, of, key)


def named(name: str, bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}{BOUNDS[end]}": bound for end, bound in bounds.items()}


def verdict_figures(verdict: Mapping[str, Any]) -> Iterator[Any]:
    suite = {"condition": "suite", "promise": "suite"} if verdict["max_error"] is not None else {}
    name = f"{verdict['of']}_loss" if "regression" in verdict["limit"] else verdict["of"]
    for field, end in BOUNDS.items():
        if verdict[field] is not None:
            yield key_of({**verdict, **suite}, f"{name}{end}"), verdict[field]


class Printed:
    """The figures that are printed.

    ``values`` are by key and place, ``texts`` the figures as they were written at the place.
    """

    def __init__(self) -> None:
        self.values: dict[Key, dict[str, set[float]]] = {}
        self.place = ""
        self.texts: set[str] = set()

    def note(self, entry: Mapping[str, Any], name: str, value: float, written: str) -> Figure:
        figure = Figure(entry, name, value, written)
        assert len(figure.key) > 1, f"{name}: a figure is of something"
        self.add(figure.key, value)
        self.texts.add(written)
        return figure

    def add(self, key: Key, value: float) -> None:
        same, of_same = self.canonical(key, value)
        self.values.setdefault(same, {}).setdefault(self.place, set()).add(round(of_same, 9))

    def add_document(self, place: str, document: Any) -> None:
        self.place = place
        for key, value in document_figures(document, {}):
            self.add(key, value)

    def canonical(self, key: Key, value: float) -> tuple[Key, float]:
        """What is the same as the figure here."""
        return key, value

    @property
    def unequal(self) -> str:
        """The keys with several values, and where each is printed."""
        unequal = [
            f"{sorted(key)}: {places}"
            for key, places in self.values.items()
            if len(set.union(*places.values())) > 1
        ]
        return "\n".join(unequal)


class World(Printed):
    """A generated run, an earlier one of the same images, and the figures printed of them."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__()
        self.runs = folder / "runs"
        self.before = Made(folder / "before", **RUNS[name], seed=2, runs=self.runs).run
        made = Made(folder / "made", **RUNS[name], runs=self.runs)
        self.run = with_properties(made) if RUNS[name].get("telling") else made.run
        self.natural = [c.id for c in self.run.conditions if not c.needs_model]
        self.classes = RUNS[name].get("classes", "many")
        self.alike: dict[str, list[str]] = {}
        for condition in self.run.conditions:
            self.alike.setdefault(series(condition.id), []).append(condition.id)

    def canonical(self, key: Key, value: float) -> tuple[Key, float]:
        """What is the same as the figure in this world: complements and sets of one."""
        of = dict(key)
        end = next((end for end in OPPOSITE if end and of["figure"].endswith(end)), "")
        stem = of["figure"].removesuffix(end)
        for name in ("baseline", "run"):  # there is one comparison
            of.pop(name, None)
        if len(self.classes) == 1:
            of.pop("label", None)
        alike = self.alike.get(of.get("series", ""), ())
        if len(alike) == 1:
            of = {"figure": of["figure"], "condition": alike[0]}
        if len(self.natural) == 1 and of.get("condition") == "suite":
            of["condition"] = self.natural[0]
        if stem == "risk" and len(self.natural) == 1:
            stem, value = self.run.failures.quantity, 1 - value
            of = {"model": of["model"], "condition": self.natural[0]}
        elif stem.endswith("_loss"):
            stem, end, value = f"{stem.removesuffix('loss')}difference", OPPOSITE[end], 0 - value
        elif stem == "gain" and of.keys() == {"figure", "model"}:  # of the training
            stem, of = f"{TRAINED}_difference", {"model": "hard", "conditions": judgement.UNSEEN}
        return frozenset({**of, "figure": f"{stem}{end}"}.items()), value


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


def training_figures(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of the JSON of a training by the names that texts give them."""
    judged, of = document["judgement"], {"model": document["name"]}
    quantity = TRAINED if judged["labelled"] else "consistency"
    names = {"before": "_a", "after": "_b", "difference": "_difference"}
    names |= {end: f"_difference_{end}" for end in ("low", "high", "p")}
    counts = {name: document[name] for name in ("share", "train", "left_out", "unreadable")}
    entries = [{**of, **counts, "more_images": judged["more_images"]}]
    for group in (*judged["groups"], *judged["conditions"]):
        title = {judgement.ORIGINALS: ORIGINALS}.get(group["name"], group["name"])
        field = "conditions" if group["name"] in judgement.GROUPS else "condition"
        figures = {f"{quantity}{ending}": group[name] for name, ending in names.items()}
        images = {f"{quantity}_images": judged["images"]}
        entries.append({**of, field: title, **figures, **images})
    return entries


WORLDS: dict[str, World] = {}


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    """All that is printed of a run: reports, commands, JSON and pages; each run once."""
    name = request.param
    if name in WORLDS:
        return WORLDS[name]
    world = World(name, tmp_path)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(world.runs))
    monkeypatch.setattr(text, "Figure", world.note)
    run, before = str(world.run.folder), str(world.before.folder)
    budget = tmp_path / "budget.toml"
    attacks_alone = all(c.needs_model for c in world.run.conditions)
    few = world.run.images < 20
    budget.write_text(BUDGET + SUITE * (not attacks_alone and not few))

    if trained := name == "a weak model":
        answer = training()
        (world.run.folder / jobs.HARDENED).write_text(json.dumps(answer.as_dict()))
        monkeypatch.setattr(
            "robustness.api.hardening_and_weakest_perturbations.harden", lambda *_, **__: answer
        )

    def command(*words: str) -> str:
        world.place = " ".join(words[:2] if words[0] == "runs" else words[:1])
        capsys.readouterr()
        assert main([*words]) in (0, 1)
        return capsys.readouterr().out

    def terminal(*words: str) -> None:
        world.texts = set()
        lines = command(*words).splitlines()
        printed = " ".join(world.texts)
        for line in lines:
            assert not [n for n in NUMBER.findall(CONSTANTS.sub("", line)) if n not in printed], (
                line
            )

    commands = [
        *(["choose", run], ["failures", run], ["threshold", run], ["fixes", run]),
        *[["harden", "SqueezeNet", *HARDEN]] * trained,
        *(["check", run, "--budget", str(budget), "--baseline", before],),
        ["runs", "compare", before, run],
    ]
    for words in commands:
        terminal(*words)
        document = json.loads(command(*words, "--json"))
        if words[0] == "harden":
            document = training_figures(document)
        if words[0] == "choose":
            document = [document, *choice_scores(document, world.run.figures().choice.unshared)]
        world.add_document(f"{words[0]} --json", document)
    world.place = "report"
    content = report.of_run(world.run)
    for string in strings([content.answers, content.sections, content.brief]):
        assert not loose(string), string
    command("report", run, "--to", str(tmp_path / "report.json"))
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    parts = {k: v for k, v in document.items() if k not in ("rows", "manifest", "compare")}
    world.add_document("report.json", [*parts.values(), document["compare"]])
    world.add_document("summary", api.open_run(run).summary().to_dict("records"))
    world.add_document("gains", api.gains(world.run))
    headline = headline_figures.compute(world.run.folder, world.run.manifest)
    world.add_document("table of runs", list(headline.models))
    world.place = "images of a cell"
    labelled = RUNS[name].get("labelled", True)
    for entry in world.run.figures().by_perturbation if labelled in (True, False) else ():
        if entry["condition"] in world.run.manifest.spec.profiles:
            continue  # its images count under any composition
        selection = RowSelection(entry["model"], conditions=(entry["condition"],))
        tally = world.run.cases.tally(selection)
        images = tally.by_label if labelled else tally.by_change
        quantity = "perturbed_accuracy" if labelled else "consistency"
        world.add(key_of(entry, quantity), 1 - images.bad / images.counted)
    for view in VIEWS:
        world.place, world.texts = f"page {view}", set()
        app = pages.run(ROOT / "pages" / "evaluations.py", run=world.run.folder.name, view=view)
        printed = " ".join(world.texts)
        for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", pages.html(app), re.DOTALL):
            numbers = NUMBER.findall(CONSTANTS.sub("", re.sub("<[^>]*>", " ", cell)))
            assert not [number for number in numbers if number not in printed], (view, cell)
    world.place = "page of a comparison"
    names = [world.before.folder.name, world.run.folder.name]
    pages.run(ROOT / "pages" / "evaluations.py", run=names)
    WORLDS[name] = world
    return world


def choice_scores(document: Mapping[str, Any], unshared: bool) -> list[dict[str, Any]]:
    """What is of the quantity of the choice, apart from what is of the model alone."""
    scored, shared = [], "shared predictions" * unshared
    for entry in document["models"]:
        names = [name for name in entry if name.partition("_")[0] in SCORES]
        of, quantity = {"model": entry["model"]}, document["quantity"]
        by_name = {name: entry.pop(name) for name in names}
        same = {re.sub("^(robust|own)", quantity, name): by_name[name] for name in by_name}
        scored += [{**of, "quantity": quantity, **by_name}, {**of, **same, "conditions": shared}]
    return scored


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_equal_keys_have_equal_values(world: World) -> None:
    assert len([key for key, places in world.values.items() if len(places) > 1]) > 20
    assert not world.unequal


TO_BREAK = {"success", "attack_success", "left"}
EVERY = {"robust", "unchanged", "drop"}


def denominator(figure: Figure) -> str:
    """The images that a share counts: "every" one, or those with a prediction "to break"."""
    name, of = figure.name, figure.entry
    if name.endswith(("_low", "_high")):  # of the share beside it
        return ""
    if name in TO_BREAK:
        return "to break"
    if name in EVERY or "accuracy" in name:
        return "every"
    if name not in ("consistency", "flip_rate") or "n_images" not in of:
        return ""
    attacked = of.get("n_attacked")
    return "every" if attacked in (None, of["n_images"]) else "to break"


def headed(value: Any) -> Iterator[tuple[str, Figure]]:
    """The figures of the tables and maps in ``value``, each with the words above it."""
    if isinstance(value, Chooser):
        for option in value.options:
            yield from headed(value.read(option))
    elif isinstance(value, Titled):
        for row in value.table.rows:
            for head, cell in zip(value.table.head, row, strict=True):
                yield from ((head, figure) for figure in getattr(cell, "figures", ()))
    elif isinstance(value, Map):
        words = value.title or value.drawing.caption
        for written in strings(value):
            yield from ((words, figure) for figure in getattr(written, "figures", ()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from headed(each)
    elif isinstance(value, Section):
        yield from headed(list(value.blocks))


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_equal_words_have_one_denominator(world: World) -> None:
    content = report.of_run(world.run)
    denominators: dict[str, dict[str, str]] = {}
    for words, figure in headed([content.sections, content.brief]):
        if of := denominator(figure):
            denominators.setdefault(words, {})[of] = str(sorted(figure.key))
    mixed = {words: kinds for words, kinds in denominators.items() if len(kinds) > 1}
    assert not mixed
    assert denominators


@pytest.mark.parametrize("world", RUNS, indirect=True)
def test_every_cell_of_a_map_counts_the_same_images(world: World) -> None:
    """A model has as many images in each cell, under attack as well."""
    content = report.of_run(world.run)
    maps = [b for b in content.brief if isinstance(b, Map)]
    assert maps
    for drawing in [block.drawing for block in maps]:
        for at, model in enumerate(drawing.columns):
            strips = [row.strips[at] for row in drawing.rows]
            titles = [tile.title for strip in strips if strip for tile in strip.tiles]
            counts = {count for title in titles for count in re.findall(r"n = ([\d,]+)", title)}
            assert len(counts) == 1, (model, titles)


LITE0 = "EfficientNetLite0"
SLICE = {"column": "camera", "value": "A"}
SLICES = "failures failures_--json report report.json page_failures"
SUITE_ERROR = {"model": LITE0, "condition": "fog=0.6", "max_error": "0.05", "promise": "suite"}


@pytest.mark.parametrize(
    ("world", "figure", "of", "places"),
    [
        # errors among accepted predictions: the threshold, its gate and its advice; the curve
        ("a safe threshold", "error", SUITE_ERROR, "threshold check fixes report.json"),
        (
            "a safe threshold",
            "perturbed_accuracy",
            {"model": LITE0, "condition": "fog=0.6"},
            "threshold fixes report.json images_of_a_cell",
        ),
        # what is hardest, and the mean of the models under it
        ("attack and fog, few labels", "consistency", {"condition": "*"}, "report report.json"),
        # one class, and all images
        ("one class under attack", "consistency", {"model": "*"}, "report report.json check"),
        # the images that an attack rests on
        (
            "attacks",
            "n_attacked",
            {"model": "*", "condition": "*"},
            "report report.json page_failures",
        ),
        # the lead of a model in a sentence and in the table of pairs
        (
            "a weak model",
            "difference",
            {"better": "*", "worse": "SqueezeNet", "quantity": "perturbed_accuracy"},
            "choose report.json page_compare",
        ),
        # a slice of the images
        ("a safe threshold", "rate", {"model": "SqueezeNet", **SLICE}, SLICES),
        ("a safe threshold", "n_images", {"model": "SqueezeNet", **SLICE}, SLICES),
        # a training: its answer, its tables and map, and the fix that it is
        (
            "a weak model",
            "perturbed_accuracy_difference",
            {"model": "hard", "conditions": judgement.UNSEEN},
            "harden harden_--json page_fix fixes fixes_--json report report.json",
        ),
        (
            "a weak model",
            "perturbed_accuracy_images",
            {"model": "hard", "conditions": ORIGINALS},
            "harden harden_--json page_fix",
        ),
        ("a weak model", "train", {"model": "hard"}, "harden harden_--json page_fix"),
    ],
    indirect=["world"],
)
def test_places_that_used_to_differ_share_a_key(
    world: World, figure: str, of: Mapping[str, str], places: str
) -> None:
    wanted = {place.replace("_", " ") for place in places.split()}
    for key, printed in world.values.items():
        own = dict(key)
        same = own.pop("figure") == figure and own.keys() == of.keys()
        if same and all(of[name] in ("*", value) for name, value in own.items()):
            assert wanted <= {*printed}, key
            return
    pytest.fail("no such figure is printed")


@pytest.mark.parametrize(
    ("lost", "gained", "labelled"),
    [(-0.1, 0.4, True), (0.2, 0, True), (0.02, 0.4, True), (0.5, 0.4, True), (0, 0.4, False)],
)
def test_the_figures_of_a_training_have_one_value(
    lost: float, gained: float, labelled: bool
) -> None:
    answer, printed = training(lost, gained, labelled=labelled), Printed()
    parts = [*hardening_report.sentences(answer), *hardening_report.blocks(answer)]
    for written in strings(parts):
        assert not loose(written), written
        for figure in getattr(written, "figures", ()):
            printed.add(figure.key, figure.value)
    texts = {*printed.values}
    printed.add_document("JSON", training_figures(answer.as_dict()))
    assert not printed.unequal
    assert len(texts) > 20
    assert texts <= {key for key, places in printed.values.items() if "JSON" in places}


def test_the_accuracies_of_a_match_have_one_value() -> None:
    answer = example(0.3, 0.5)
    values: dict[Key, set[float]] = {}
    for written in strings([match_report.sentences(answer), match_report.blocks(answer)]):
        for figure in getattr(written, "figures", ()):
            values.setdefault(figure.key, set()).add(figure.value)
    for accuracy in answer.as_dict()["expected_accuracy"]:
        for field, end in BOUNDS.items():
            values[key_of(accuracy, f"expected_accuracy{end}")].add(accuracy[field])
    assert all(len(each) == 1 for each in values.values()), values
    assert len(values) > 3
