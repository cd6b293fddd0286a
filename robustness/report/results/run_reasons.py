"""The sections of a run's report on how models fail: changes, agreement, confidence."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.base.text import counted, visible
from robustness.charts import dataset
from robustness.charts.failures import change_counts, embedding_map, failing_alone, risk_coverage
from robustness.charts.tables import Column, Entry, Table, figure, in_points, with_interval
from robustness.evaluation.condition import perturbation_label, short
from robustness.report.content import Beside, Block, Chart, Chooser, Section, Text, Titled
from robustness.report.wording import model
from robustness.runs.embedding import EmbeddingMap
from robustness.runs.failures import Failures
from robustness.statistics.abstaining import ABSTAINING_RULE, THRESHOLDS
from robustness.statistics.agreement import AGREEMENT_RULE

_CHANGES = 12
"""Changes that a chart and a file show."""

_ANY = "any"
_FAILS = {
    "perturbed_accuracy": "A failure is an incorrect prediction; only labelled images count.",
    "consistency": "A failure is a changed prediction.",
}
_COUNTED = (
    "An image counts in a column if this happens under at least one condition, so it can count in "
    "several columns."
)
_GROUPS = (
    "Groups follow WordNet: a change from one terrier to another stays in the group, a change from "
    "a terrier to a doormat does not. A group has at most 60 of ImageNet's classes."
)


def changes(found: Failures) -> Section | None:
    """Into which classes predictions change; None if none does."""
    if not found.changes:
        return None
    of = dataset.grouped(found.changes, "model")

    def by_model(name: str) -> list[Block]:
        under = dataset.grouped(of[name], "condition")
        return [
            Chooser(
                "Condition",
                "change_under",
                {text or _ANY: short(text) if text else "Any" for text in under},
                lambda text: _changes(under["" if text == _ANY else text]),
                printed=[_ANY],
                listed=True,
            )
        ]

    names = {name: model(name) for name in of}
    choice = Chooser("Model", "change_of", names, by_model, printed=list(names), listed=True)
    blocks: list[Block] = [choice]
    if found.groups:
        whole = [entry for entry in found.groups if not entry["perturbation"]]
        each = [entry for entry in found.groups if entry["perturbation"]]
        blocks += [
            Text("A change within a group is a smaller failure than one out of it.", _GROUPS),
            Titled("Consistency by class and by group", Table.of(whole, _GROUP[1:])),
            Titled("Under each perturbation", Table.of(each, _GROUP), long=True),
        ]
    return Section("Changed classes", blocks, "what predictions become", link="change")


def _changes(entries: Sequence[Entry]) -> list[Block]:
    shown, whose = entries[:_CHANGES], model(entries[0]["model"])
    labels = [f"{visible(e['before'])} to<br>{visible(e['after'])}" for e in shown]
    chart = Chart(
        f"Most frequent changes of {whose}",
        change_counts(shown, labels),
        "Images with each change of the predicted class; the table below holds the numbers.",
        link="change",
    )
    table = Titled(f"Changes of {whose}", Table.of(shown, _CHANGE), long=True)
    return [chart, table]


_CHANGE: Sequence[Column] = (
    ("Original", lambda entry: visible(entry["before"])),
    ("Perturbed", lambda entry: visible(entry["after"])),
    ("Images", figure("n_images", ",")),
    ("Share of changes", figure("share", ".1%")),
    ("Both are", lambda entry: entry["shared"]),
    ("Same group", lambda entry: {True: "yes", False: "no"}.get(entry["same_group"], "")),
)
_GROUP: Sequence[Column] = (
    ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
    ("Model", lambda entry: model(entry["model"])),
    ("By class", lambda entry: with_interval(entry, "consistency")),
    ("By group", lambda entry: with_interval(entry, "group_consistency")),
)


def agreement(found: Failures) -> Section | None:
    """Whether models fail on the same images; None with one model."""
    if not found.pairs:
        return None
    alone = [
        (f"{model(a)} fails,<br>{model(b)} does not", {"n_images": count, "selection": text})
        for entry in found.pairs
        for a, b, count, text in (
            (entry["model"], entry["other"], entry["model_only"], entry["model_selection"]),
            (entry["other"], entry["model"], entry["other_only"], entry["other_selection"]),
        )
    ]
    chart = Chart(
        "Images that one model alone fails on",
        failing_alone(alone),
        "Images that one model of each pair fails on and the other does not.",
        link="against",
    )
    table = Titled("Do they fail together?", Table.of(found.pairs, _PAIR))
    about = f"{_FAILS[found.quantity]} {_COUNTED} {_together(found)}"
    blocks: list[Block] = [chart, table, Text(about, AGREEMENT_RULE)]
    if found.majority:
        blocks.append(Titled("What a majority would do", Table.of(found.majority, _MAJORITY)))
    return Section("Agreement", blocks, "where one model fails and another does not", "against")


def _together(found: Failures) -> str:
    known = [entry for entry in found.pairs if entry["kappa"] is not None]
    if not known:
        return "No model fails, so error consistency is unknown."
    most = max(known, key=lambda entry: float(entry["kappa"]))
    return (
        f"Most alike: {model(most['model'])} and {model(most['other'])}, error consistency "
        f"{most['kappa']:.2f}."
    )


_PAIR: Sequence[Column] = (
    ("Models", lambda entry: f"{model(entry['model'])} and {model(entry['other'])}"),
    ("Images", figure("n_images", ",")),
    ("First alone fails", figure("model_only", ",")),
    ("Second alone fails", figure("other_only", ",")),
    ("Both fail", figure("both", ",")),
    ("Error consistency", lambda entry: with_interval(entry, "kappa", ".2f")),
)
_MAJORITY: Sequence[Column] = (
    ("Models", figure("n_models", "")),
    ("Majority", lambda entry: with_interval(entry, "rate")),
    ("Best model", lambda entry: model(entry["best"])),
    ("Its rate", figure("best_rate", ".1%")),
    ("Majority minus best, points", lambda entry: in_points(entry, "difference")),
)


def confidence(found: Failures) -> Section | None:
    """What abstaining at a low confidence saves; None without rows that count."""
    if not found.risk_coverage:
        return None
    errors = "Errors" if found.quantity == "perturbed_accuracy" else "Changed predictions"
    chart = Chart(
        "Risk against coverage",
        risk_coverage(found.risk_coverage, errors),
        f"{errors} among the answered images over the share of images answered; the table below "
        "holds the numbers at some thresholds.",
        "The most confident predictions are on the left.",
    )
    options = {f"{at:g}": f"{at:.0%}" for at in THRESHOLDS}
    choice = Chooser(
        "Threshold",
        "abstain_below",
        options,
        lambda at: _at_threshold(found, float(at)),
        printed=[f"{THRESHOLDS[1]:g}"],
        first=f"{THRESHOLDS[1]:g}",
    )
    area = Titled("Area under the curve (lower is better)", Table.of(found.risk_coverage, _AREA))
    rule = Text("A threshold withholds predictions of low confidence.", ABSTAINING_RULE)
    about = "what answering only above a threshold saves"
    return Section("Confidence", [Beside([chart], [area]), rule, choice], about)


def _at_threshold(found: Failures, at: float) -> list[Block]:
    mine = [entry for entry in found.confidence if entry["threshold"] == at]
    whole = [entry for entry in mine if not entry["perturbation"]]
    each = [entry for entry in mine if entry["perturbation"]]
    labelled = found.quantity == "perturbed_accuracy"
    errors, good = ("Errors", "Correct") if labelled else ("Changed predictions", "Unchanged")
    saved = [
        *_COVERED,
        (f"{errors} avoided", figure("avoided", ".1%")),
        (f"{good} predictions withheld", figure("lost", ".1%")),
    ]
    return [
        Titled(f"Abstaining below {at:.0%}", Table.of(whole, saved[1:])),
        Titled(f"Abstaining below {at:.0%} under each perturbation", Table.of(each, saved), True),
    ]


_AREA: Sequence[Column] = (
    ("Model", lambda entry: model(entry["model"])),
    ("Area", figure("area", ".3f")),
)
_COVERED: Sequence[Column] = (
    ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
    ("Model", lambda entry: model(entry["model"])),
    ("Coverage", lambda entry: with_interval(entry, "coverage")),
    ("Risk without", figure("risk_all", ".1%")),
    ("Risk with", figure("risk", ".1%")),
)


def maps(made: Sequence[EmbeddingMap]) -> Section | None:
    """The maps that were made of a run; None without one."""
    if not made:
        return None
    of = {each.name: each for each in made}
    options = {name: f"{model(e.model)}, {short(e.condition)}" for name, e in of.items()}
    first = made[0].name
    choice = Chooser(
        "Map of",
        "map_of",
        options,
        lambda name: _map(of[name], options[name]),
        printed=[first],
        first=first,
        listed=True,
    )
    return Section("Map", [choice], "how far perturbed images move", link="map")


def _map(made: EmbeddingMap, title: str) -> list[Block]:
    left = f" {counted(made.left_out, 'image')} could not be read again." if made.left_out else ""
    chart = Chart(
        title,
        embedding_map(made.points, made.explained),
        f"{counted(len(made.points), 'image')} with the perturbed version in the plane of the two "
        "main components of the features.",
        f"Each line joins an original to its perturbed image. Crosses are failures.{left}",
        link="map",
    )
    return [chart]
