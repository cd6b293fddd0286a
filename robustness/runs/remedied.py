"""What the remedies of a run gain, read from its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import RunError
from robustness.evaluation.condition import readable
from robustness.remedies import parse
from robustness.remedies.on_prediction import ANSWERED_ORIGINALS
from robustness.runs.run import Run
from robustness.statistics.remedies import Abstention, Gain, PairedTruths, abstention, gains

_COLUMNS = (
    *("position", "condition", "label", "clean_top1", "top1"),
    *("clean_probability", "probability", "remedies"),
)
_TRIAL = ("clean_top1", "top1")

Classes = NDArray[np.int32]


@dataclass(frozen=True)
class RemedyFigures:
    """The gains of the remedies of a run, and its abstentions if it asked for them."""

    gains: tuple[Gain, ...]
    abstentions: tuple[Abstention, ...]
    milliseconds: dict[tuple[str, str], float]
    """By remedy and model, what the remedy adds for one image; what is unknown is left out."""
    labelled: bool | None = True
    """Whether the images have a true class; None if some do. Without one, a prediction counts as
    good if it is that of the original."""

    def as_rows(self) -> list[dict[str, Any]]:
        """The gains, JSON-ready, each with ``milliseconds`` (None if unknown)."""
        return [
            {**gain.as_dict(), "milliseconds": self.milliseconds.get((gain.remedy, gain.model))}
            for gain in self.gains
        ]


_KNOWN: WeakKeyDictionary[Run, RemedyFigures] = WeakKeyDictionary()
"""Of the open runs: the rows of a large one take seconds to read."""


def remedy_figures(run: Run) -> RemedyFigures:
    """The figures of the remedies of ``run``, worked out once; empty without remedies or images."""
    found = _KNOWN.get(run)
    if found is None:
        found = _KNOWN[run] = _fresh(run)
    return found


def _fresh(run: Run) -> RemedyFigures:
    spec = run.manifest.spec
    trials: list[PairedTruths] = []
    abstentions: list[Abstention] = []
    known: set[bool] = set()
    names = [chain.id for chain in spec.remedies if not chain.abstains]
    if spec.remedies and run.row_count:
        for model in spec.model_names:
            table = counted_rows(run, model)
            known |= set(pc.unique(table["label"].is_valid()).to_pylist())
            for condition, found in by_condition(table):
                trials += _trials(model, condition, found, names)
                if len(found["good"]) > 1 and any(chain.abstains for chain in spec.remedies):
                    abstentions.append(abstention(model, condition, found, kept=ANSWERED_ORIGINALS))
    labelled = None if len(known) > 1 else known != {False}
    return RemedyFigures(tuple(gains(trials)), tuple(abstentions), milliseconds(run), labelled)


def counted_rows(run: Run, model: str) -> pa.Table:
    """The rows of ``model`` that remedies are judged by, without those of copies of images."""
    counted = run.rows.axes.positions[run.rows.axes.image_of >= 0]
    table = run.table(_COLUMNS, model)
    return table.filter(pc.is_in(table["position"], pa.array(counted, pa.int32())))


def by_condition(table: pa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each condition with its columns by image, in the order of the dataset."""
    for condition in pc.unique(table["condition"]).to_pylist():
        own = table.filter(pc.equal(table["condition"], condition)).sort_by("position")
        found: dict[str, Any] = {
            name: own[name].to_numpy()
            for name in ("position", "clean_top1", "top1", "clean_probability", "probability")
        }
        found["right"] = pc.coalesce(own["label"], own["clean_top1"]).to_numpy()
        found["good"] = found["top1"] == found["right"]
        found["remedies"] = own["remedies"].combine_chunks()
        yield condition, found


def trial_classes(
    model: str, condition: str, found: Mapping[str, Any], names: Sequence[str]
) -> Iterator[tuple[str, Classes, Classes]]:
    """Each remedy of ``names`` with the top-1 classes behind it: of the originals, and perturbed.

    One that the model cannot take is left out. Raises ``RunError`` for rows without the others.
    """
    structs, count = found["remedies"].flatten(), len(found["right"])
    told = structs.field("remedy").to_pylist()
    names = [name for name in names if name in told or not parse(name).adapts]
    if told != names * count:
        raise RunError(
            f"The rows of {model} under {condition} lack some of the remedies of the run: it was "
            "damaged or changed. Evaluate the same anew."
        )
    clean, top = (structs.field(each).to_numpy().reshape(count, len(names)) for each in _TRIAL)
    for place, name in enumerate(names):
        yield name, clean[:, place], top[:, place]


def is_attack(condition: str) -> bool:
    """Whether the condition with this id is an attack, which only counts as failed if the original
    is correct, too."""
    return (known := readable(condition)) is not None and known.needs_model


def _trials(
    model: str, condition: str, found: dict[str, Any], names: list[str]
) -> Iterator[PairedTruths]:
    attack, right = is_attack(condition), found["right"]
    clean_before = found["clean_top1"] == right
    before = found["good"] & clean_before if attack else found["good"]
    for name, clean, top in trial_classes(model, condition, found, names):
        clean_after = clean == right
        after = (top == right) & clean_after if attack else top == right
        yield PairedTruths(name, model, condition, before, after, clean_before, clean_after)


def together(run: Run, model: str) -> tuple[str, ...]:
    """The models of ``run`` with the classes of ``model``, which ``average`` and ``vote`` ask."""
    groups = models.by_labels(run.manifest.spec.model_names)
    return next(names for _, names in groups if model in names)


def milliseconds(run: Run) -> dict[tuple[str, str], float]:
    """As ``RemedyFigures.milliseconds``."""
    manifest = run.manifest
    found = {}
    for chain in manifest.spec.remedies:
        prepared = manifest.remedies_ms.get(chain.id)
        for model in manifest.spec.model_names:
            latency = manifest.costs.get(model, {}).get("latency_ms")
            if prepared is None or chain.abstains:
                continue
            more = (chain.passes - 1) * (latency or 0.0)
            if chain.several_models:
                others = [name for name in together(run, model) if name != model]
                latencies = [manifest.costs.get(name, {}).get("latency_ms") for name in others]
                if None in latencies:
                    continue
                more = sum(filter(None, latencies))
            if latency is not None or chain.passes == 1:
                found[chain.id, model] = prepared + more
    return found
