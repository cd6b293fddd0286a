"""The section that says which model of a run to choose, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.charts import dataset, trade
from robustness.charts.tables import Column, Entry, Table, with_interval
from robustness.evaluation.condition import perturbation_label
from robustness.report.content import Block, Chart, Chooser, Section, Text, Titled
from robustness.report.wording import listed, model
from robustness.runs import Run
from robustness.statistics import Figures

_RULE = (
    "A model is worse if the paired difference to the first is significant and at least 1 point. "
    "Ranks hold for all models together at 95 %. First: the share of 1,000 resamples of the "
    "images in which the model scores highest. Latency is that of one image, measured when the run "
    "ended; `choose` weighs perturbations and sets limits."
)


def section(run: Run, found: Figures) -> Section | None:
    """The choice among the models of ``run``; None if fewer than two can be compared."""
    chosen = found.choice
    costs = run.manifest.costs
    entries: list[Entry] = [
        {**e, **{str(k): v for k, v in costs.get(e["model"], {}).items()}} for e in chosen.models
    ]
    scored: list[Entry] = [entry for entry in entries if entry["robust"] is not None]
    if len(scored) < 2:
        return None
    title = dataset.QUANTITIES[chosen.quantity]
    told: list[Block] = [Text(" ".join(chosen.sentences), _RULE)]
    models = table(entries, chosen.quantity)
    axes = trade.across(scored)
    if not axes:
        return Section("Choice", [*told, models])
    options = {name: trade.AXES[name].title for name in axes}
    chart = Chooser(
        "Against",
        "trade",
        options,
        lambda name: [_chart(scored, name, title)],
        printed=axes[:1],
        first=axes[0],
    )
    return Section("Choice", [*told, models, chart])


def table(entries: Sequence[Entry], quantity: str) -> Titled:
    """The models of a ``ModelChoice`` with their scores and costs."""
    columns = _columns(entries, dataset.QUANTITIES[quantity])
    return Titled("Models to choose from", Table.of(entries, columns))


def _chart(scored: Sequence[Entry], name: str, title: str) -> Chart:
    losers = trade.dominated(scored, name)
    note = "The dotted line joins the models that no other beats in both figures."
    if losers:
        each = [f"{model(worse)} (by {model(better)})" for worse, better in losers.items()]
        note += f" Beaten in both, significantly or not: {listed(each, 4)}."
    across = trade.AXES[name].title.lower()
    return Chart(
        f"{title} against {across}",
        trade.trade(scored, name, title),
        f"{title} of each model against its {across}; the table holds the numbers.",
        note,
    )


def _columns(entries: Sequence[Entry], title: str) -> list[Column]:
    columns: list[Column] = [
        ("Rank", _rank),
        ("Model", lambda entry: model(entry["model"])),
        (title, lambda entry: with_interval(entry, "robust")),
        ("Original", lambda entry: _of("{:.1%}", entry["accuracy"])),
        ("First", lambda entry: _of("{:.0%}", entry["certainty"])),
        ("Latency", lambda entry: _of("{:.0f} ms", entry["latency_ms"])),
        ("Size", lambda entry: _of("{:.1f} MB", entry["megabytes"])),
        ("Weakest under", lambda entry: _label(entry["weakest"])),
    ]
    return [(head, say) for head, say in columns if any(say(entry) for entry in entries)]


def _rank(entry: Entry) -> str:
    low, high = entry["place_low"], entry["place_high"]
    if low is None:
        return str(entry["status"])
    return str(low) if low == high else f"{low} to {high}"


def _label(name: str | None) -> str:
    return "" if name is None else perturbation_label(name)


def _of(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)
