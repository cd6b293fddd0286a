"""The report of the study: its four networks, ten perturbations and two similarities on one image.

Its tables have the figures that the study published beside those of this installation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustness import models
from robustness.base.text import format_figure, in_bytes, join_names, share
from robustness.images.framing import Picture
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request
from robustness.measure.rows import provenance_record
from robustness.metrics import REGISTRY as METRICS
from robustness.models.weights import size as weights_size
from robustness.perturbations import REGISTRY
from robustness.report import methods, strength
from robustness.report.blocks import (
    Block,
    Chooser,
    Report,
    Section,
    Text,
    Titled,
    class_title,
    model_label,
    sentence,
)
from robustness.report.facts import cautions, data, facts, framing_options
from robustness.report.tables import Column, Entry, Table, figure
from robustness.statistics import study
from robustness.statistics.study import Network

COMMAND = "python -m robustness study IMAGE --as-published"
"""The command that measures the same."""


def of_study(
    spec: Request, picture: Picture, rows: Sequence[Measurement], networks: Sequence[Network]
) -> Report:
    """Return the report of the study on ``picture``.

    ``rows`` are the measurements of the models of ``networks`` by the request ``spec``, which are
    those under the study's ten perturbations.
    """
    summary = study.summarise(rows)
    entries = study.network_entries(networks, summary)
    # A caution has no code in it.
    missing = f"{stand_ins(networks)} {fetching(networks)}".replace("`", "").strip()
    tables: dict[str, Sequence[Mapping[str, Any]]] = {"summary": summary, "networks": entries}
    answers = [
        ("How consistent are the predictions?", answer(summary)),
        ("Do features and predictions change together?", study.insight(rows)),
    ]
    first_tables = [results(entries), network_table(entries)]
    sections = [
        Section("The study", [*first_tables, *_notes(entries)]),
        Section("The ten perturbations", [by_perturbation(networks, rows)]),
        strength.images(spec, [picture], rows),
    ]
    return Report(
        title=f"The study on {picture.name}",
        answers=answers,
        facts=facts(spec, [picture], rows),
        cautions=[*([missing] if missing else []), *cautions(rows)],
        sections=sections,
        brief=[*first_tables, *_notes(entries), *_perturbation_tables(networks, rows)],
        methods=methods.blocks(spec.conditions, []),
        limits=methods.limits(),
        manifest=provenance_record(spec, [(picture.name, picture.digest)]),
        replay=f"With the same image, `{COMMAND} --seed {spec.seed}{framing_options(spec)}` "
        "reproduces the rows.",
        data=data(rows, tables),
    )


def answer(summary: Sequence[Entry]) -> str:
    """Return the sentence on the models that keep their prediction most often and least often."""
    names = [entry["model"] for entry in summary]
    return sentence(strength.kept_predictions(summary, 1), names=names)


def stand_ins(networks: Sequence[Network]) -> str:
    """Return the sentence on the networks without weights, "" if all four can run."""
    labels = [model_label(network.name) for network in networks if network.is_missing]
    if not labels:
        return ""
    if len(labels) == len(networks):
        missing = "The study's four networks have"
    else:
        missing = f"{join_names(labels)} {'has' if len(labels) == 1 else 'have'}"
    if len(labels) == 1:
        return f"{missing} no weights here: a bundled model stands in, and says nothing about it."
    return f"{missing} no weights here: bundled models stand in, and say nothing about them."


def fetching(networks: Sequence[Network]) -> str:
    """Return the sentence with the command that fetches the missing weights, "" if none is.

    The command stands between backticks.
    """
    missing = [network for network in networks if network.is_missing]
    if not missing:
        return ""
    byte_count = sum(weights_size(models.REGISTRY[network.name]) or 0 for network in missing)
    names = " ".join(network.name for network in missing)
    command = f"`python -m robustness models download {names}`"
    return f"Fetch the missing weights, {in_bytes(byte_count)}: {command}."


def results(entries: Sequence[Entry]) -> Titled:
    """Return the table of consistencies and similarities, published and measured.

    ``entries`` are those of ``study.network_entries``.
    """
    columns: list[Column] = [_NETWORK]
    if any(entry["stands_in"] for entry in entries):
        columns.append(("Measured on", _measured_on))
    columns += [
        ("Consistency, published", figure("published_consistency", ".0%")),
        ("measured", figure("consistency", ".0%")),
    ]
    for name in ("cosine", "euclidean"):
        title = METRICS[name].label
        columns.append((f"{title}, published", figure(f"published_{name}", ".2f")))
        columns.append(("measured", figure(name, ".2f")))
    columns.append(("Published verdict", figure("published_verdict", str)))
    return Titled("Results: published and measured", Table.of(entries, columns))


def network_table(entries: Sequence[Entry]) -> Titled:
    """Return the study's table of its networks, beside the figures of the catalogue."""
    columns: list[Column] = [
        _NETWORK,
        ("Type", figure("type", str)),
        ("Parameters, published", figure("published_parameters", _published_millions)),
        ("in the catalogue", figure("parameters", _millions)),
        ("ImageNet top-5, published", figure("published_top5", ".1%")),
        ("in the catalogue", figure("top5", ".1%")),
    ]
    return Titled("The four networks", Table.of(entries, columns))


_NETWORK: Column = ("Network", lambda entry: model_label(entry["network"]))


def _measured_on(entry: Entry) -> str:
    label = model_label(entry["model"])
    if entry["stands_in"]:
        return f"{label}, stand-in"
    return label


def _published_millions(count: float) -> str:
    """Return a number of parameters with the digits that the study printed."""
    millions = count / 1e6
    return f"{millions:.0f}M" if millions >= 100 else f"{millions:.1f}M"


def _millions(count: float) -> str:
    return f"{count / 1e6:.2f}M"


def _notes(entries: Sequence[Entry]) -> list[Text]:
    """Return the sentences on where figures come from, and where they disagree."""
    notes = []
    for entry in entries:
        if share(entry["top5"]) != share(entry["published_top5"]):
            notes.append(
                f"{model_label(entry['network'])}: the study has a top-5 accuracy of "
                f"{share(entry['published_top5'])}, the catalogue {share(entry['top5'])}."
            )
    source = "The catalogue has the accuracies that Keras lists for these weights."
    return [Text(" ".join([study.PUBLISHED_NOTE, source, *notes]))]


def by_perturbation(networks: Sequence[Network], rows: Sequence[Measurement]) -> Chooser:
    """Return the tables of the ten perturbations, with a control to select the network."""
    tables = dict(zip(networks, _perturbation_tables(networks, rows), strict=True))
    table_of = {network.name: table for network, table in tables.items()}

    def read(name: str) -> list[Block]:
        return [table_of[name]]

    options = {network.name: model_label(network.name) for network in networks}
    return Chooser("Network", "network", options, read, printed=list(options))


def _perturbation_tables(networks: Sequence[Network], rows: Sequence[Measurement]) -> list[Titled]:
    """Return a table for each network: the predictions before and after each perturbation."""
    columns: list[Column] = [
        ("Perturbation", lambda row: REGISTRY[row.perturbation].label),
        ("Setting", lambda row: REGISTRY[row.perturbation].value_text(row.strength)),
        ("Prediction before", _before),
        ("after", _after),
        ("Consistent", lambda row: "yes" if row.consistent else "no"),
    ]
    for name in ("cosine", "euclidean"):
        columns.append((METRICS[name].label, _score(name)))
    tables = []
    for network in networks:
        of_network = [row for row in rows if row.model == network.model]
        kept = sum(row.consistent for row in of_network)
        caption = model_label(network.name)
        if network.is_missing:
            caption = f"{model_label(network.model)}, in place of {caption}"
        caption += f": {kept} of {len(of_network)} predictions stayed"
        tables.append(Titled(caption, Table.of(of_network, columns)))
    return tables


def _before(row: Measurement) -> str:
    return f"{class_title(row.model, row.clean_top1)} {share(row.clean_probability, 0)}"


def _after(row: Measurement) -> str:
    return f"{class_title(row.model, row.top1)} {share(row.probability, 0)}"


def _score(name: str) -> Callable[[Measurement], str]:
    """Return a function from a measurement to the text of its score ``name``."""
    return lambda row: format_figure(row.scores[name], ".2f")
