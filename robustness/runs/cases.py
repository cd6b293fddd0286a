"""The measurements of a saved run to look at, queried in its files.

A selection of a run's measurements, and its text: what links, exports and commands share.

Where and why the models of a run fail: tables that page, report, command and Python share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl, quote, unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.text import some
from robustness.measure.condition import perturbation_name
from robustness.measure.request import Request
from robustness.measure.rows import SCORES
from robustness.models.record import model_name
from robustness.models.weights import is_calibrated
from robustness.runs.files import are_measured
from robustness.runs.manifest import MAX_PICTURES
from robustness.runs.rows import ROW, Rows
from robustness.statistics import pairs as model_pairs
from robustness.statistics import threshold
from robustness.statistics.calibration import fits_temperature
from robustness.statistics.failures import by_slice, inside, slices
from robustness.statistics.grid import (
    Grid,
    draw_compositions,
    part_of,
    pool_profiles,
    profile_groups,
)

_KEYS = ("model", "perturbation", "condition", "class", "slice", "became", "against", "image")
_READABLE = " :,.=+>()/"
_POSITION = re.compile("[0-9]{1,10}")
_MAX_NAMES = 12

_NAMES = {"model": model_name, "against": model_name, "perturbation": perturbation_name}
"""What finds the names of records by their labels, by key."""

CASE_COLUMNS = (
    "image",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "clean_top1",
    "clean_probability",
    "top1",
    "probability",
    "retained_probability",
    "consistent",
    "ssim",
)
"""The columns of a case."""

WORST = "worst"
SURVIVORS = "survivors"
"""Kinds of cases. ``WORST``: predictions that are incorrect or, without a label, changed. Those
that were correct before come first, by the fall of the confidence in the original class.
``SURVIVORS``: all others, by how visible the change is (lowest SSIM first). Rows of attacks without
a prediction to break are neither. In a run of scores ``WORST`` are those with a lower score than
the original, by how much is lost."""


@dataclass(frozen=True)
class RowSelection:
    """Which rows: those of a ``model``, a ``perturbation``, some ``conditions``; () or "" is all.

    ``classes`` are (model, class): rows whose label, else the prediction on the original, is one.
    ``slices`` are (column, value) of the properties of the images, as in ``image_slices``; in
    ``text``, a colon within a column is ``%253A``.
    The name of a profile stands for all of its compositions.
    ``became`` is a change (original class, new class). ``against`` is another model, which went
    well where these rows did not. ``positions`` are those of images in the dataset.
    """

    model: str = ""
    perturbation: str = ""
    conditions: tuple[str, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    slices: tuple[tuple[str, str], ...] = ()
    became: tuple[int, int] | None = None
    against: str = ""
    positions: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The selection as ``parse`` reads it, such as ``model=VGG16&slice=brightness:..0.2``."""
        class_names = {models.class_name(model, index): None for model, index in self.classes}
        pairs = [("model", self.model), ("perturbation", self.perturbation)]
        pairs += [("condition", condition) for condition in self.conditions]
        pairs += [("class", name) for name in class_names]
        for column, value in self.slices:
            # The first colon ends the column, so one within it is escaped; ``parse`` reads it back.
            escaped = column.replace("%", "%25").replace(":", "%3A")
            pairs.append(("slice", f"{escaped}:{value}"))
        if self.became:
            before, after = self.became
            pairs.append(("became", f"{before}>{after}"))
        pairs.append(("against", self.against))
        pairs.append(("image", ",".join(map(str, self.positions))))
        return "&".join(f"{key}={quote(value, safe=_READABLE)}" for key, value in pairs if value)

    @classmethod
    def parse(cls, text: str, spec: Request) -> RowSelection:
        """The selection that ``text`` means in a run of ``spec``.

        Classes are names, synsets or indices. Raises ``ParameterError`` for another text.
        """
        values: dict[str, list[str]] = {key: [] for key in _KEYS}
        given: list[tuple[str, str]] = []
        if text.strip():  # a blank text chooses all rows
            given = parse_qsl(text.replace("+", "%2B"), keep_blank_values=True)
            if not given:
                _refuse(text)
        for key, value in given:
            if key not in values:
                _refuse(text)
            values[key].append(value)

        conditions = [condition.id for condition in spec.conditions]
        perturbations = dict.fromkeys(condition.name for condition in spec.conditions)
        profiles = list(spec.profiles)
        values["model"] = _known("model", values["model"], spec.model_names)
        values["against"] = _known("against", values["against"], spec.model_names)
        values["perturbation"] = _known(
            "perturbation", values["perturbation"], [*perturbations, *profiles]
        )
        values["condition"] = _known("condition", values["condition"], [*conditions, *profiles])
        # Where a key is given several times, its last value counts.
        last = {key: texts[-1] if texts else "" for key, texts in values.items()}

        model_names = [last["model"]] if last["model"] else spec.model_names
        label_sets = models.by_labels(model_names)
        slices = []
        for value in values["slice"]:
            column, colon, wanted = value.partition(":")
            if not colon:
                _refuse(text)
            slices.append((unquote(column), wanted))
        classes = last["became"].split(">") if last["became"] else []
        if len(classes) not in (0, 2):
            _refuse(text)
        became: tuple[int, int] | None = None
        if classes:
            labels, _ = label_sets[0]
            try:
                became = (labels.index(classes[0]), labels.index(classes[1]))
            except UnknownNameError as error:
                raise ParameterError(f"The selection {text!r} cannot be read: {error}") from error
        return cls(
            model=last["model"],
            perturbation=last["perturbation"],
            conditions=tuple(name for name in values["condition"] if name),
            classes=tuple(pair for name in values["class"] for pair in _meant(name, label_sets)),
            slices=tuple(slices),
            became=became,
            against=last["against"],
            positions=_positions(",".join(values["image"])),
        )


def _known(key: str, texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """``texts`` as ``names``, which a user may give by their labels; "" stays.

    Raises ``ParameterError`` for a text that means none of them.
    """
    find = _NAMES.get(key, str)
    known = []
    for text in texts:
        name = text if text in names else find(text)
        if name and name not in names:
            raise ParameterError(
                f"Expected {key} to be one of {some(names, _MAX_NAMES)}; got {name!r}."
            )
        known.append(name)
    return known


def _positions(text: str) -> tuple[int, ...]:
    """The positions of images in ``text``, separated by commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(_POSITION.fullmatch(part) and int(part) < MAX_PICTURES for part in parts):
        raise ParameterError(
            f"Expected image to be positions from 0 to {MAX_PICTURES - 1}, such as 3,40; "
            f"got {text[:80]!r}."
        )
    return tuple(map(int, parts))


def _meant(
    name: str, labels: Sequence[tuple[models.Labels, Sequence[str]]]
) -> list[tuple[str, int]]:
    """(model, class) of each model that knows the class ``name``."""
    pairs = []
    for label_set, model_names in labels:
        if len(label_set.meant(name)) == 1:
            index = label_set.index(name)
            pairs += [(model, index) for model in model_names]
    if not pairs:
        raise ParameterError(f"Expected a class that a model of the run knows, got {name!r}.")
    return pairs


def _refuse(text: str) -> NoReturn:
    raise ParameterError(
        f"Expected a selection such as model=NAME&slice=brightness:..0.2, got {text!r}.",
        hint=f"Its keys are {', '.join(_KEYS)}.",
    )


_REMEMBERED = 200  # answers
_MOST_REMEMBERED = 100  # cases of one

_LAST = "CASE WHEN isfinite({0}) THEN {0} ELSE 2 END"  # 2 is above any fall and similarity
_RANKING = {
    WORST: "label IS NOT NULL AND clean_top1 <> label, "
    + _LAST.format("(retained_probability - clean_probability)"),
    SURVIVORS: _LAST.format("ssim"),
}
_COUNTED = "(counted OR correct IS NOT NULL)"
"""Rows that are good or bad: with a label all, as an image that was incorrect before an attack is
incorrect after it, too."""
_OUTCOMES = {WORST: f"{_COUNTED} AND NOT good", SURVIVORS: f"{_COUNTED} AND good"}


@dataclass(frozen=True)
class Outcomes:
    """How many images have rows that count, a bad row, and a good one.

    Without a label, an attack without a prediction to break does not count.
    """

    counted: int
    bad: int
    good: int


@dataclass(frozen=True)
class Tally:
    """The images among chosen rows.

    Bad is incorrect ``by_label`` and, without a label, changed: ``by_change``. ``either`` counts
    the images of a list that holds both.
    """

    images: int
    either: Outcomes
    by_label: Outcomes
    by_change: Outcomes

    @classmethod
    def of(cls, counts: Sequence[int]) -> Tally:
        """From the number of images, then the three of each of the outcomes."""
        images, *outcomes = counts
        return cls(
            images=images,
            either=Outcomes(*outcomes[0:3]),
            by_label=Outcomes(*outcomes[3:6]),
            by_change=Outcomes(*outcomes[6:9]),
        )


class CaseRows:
    """The cases among ``rows``; short answers are remembered.

    A profile in a selection stands for the conditions that ``rows`` have as its compositions.
    ``properties`` are those of the images, None if they are not known.
    """

    def __init__(self, rows: Rows, properties: pa.Table | None = None) -> None:
        self._rows = rows
        self._properties = properties
        self._answers: dict[Any, Any] = {}

    def tally(self, chosen: RowSelection) -> Tally:
        """How many images there are among the ``chosen`` rows."""
        tally: Tally | None = self._answers.get(chosen)
        if tally is not None:
            return tally
        # Whether an image has a row of each kind, in the order of ``Tally.of``.
        flags: list[str] = []
        counts = []
        for labels in ("true", "label IS NOT NULL", "label IS NULL"):
            for outcome in ("true", "NOT good", "good"):
                name = f"flag_{len(flags)}"
                flags.append(f"bool_or({_COUNTED} AND {labels} AND {outcome}) AS {name}")
                counts.append(f"count(*) FILTER ({name})")
        where, values = self._where(chosen)
        images = f"SELECT {', '.join(flags)} FROM rows WHERE {where} GROUP BY position"
        answer = self._rows.ask(f"SELECT count(*), {', '.join(counts)} FROM ({images})", **values)
        tally = Tally.of(answer[0])
        self._remember(chosen, tally)
        return tally

    def first(
        self, chosen: RowSelection, kind: str, count: int, without: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """The first ``count`` cases of ``kind``, each image once, in the order of ``cases``.

        Images at the positions ``without`` are left out. A case has ``CASE_COLUMNS`` and
        ``position``, and in a run of scores ``SCORES``.
        """
        key = chosen, kind, count, tuple(without)
        cases: list[dict[str, Any]] | None = self._answers.get(key)
        if cases is not None:
            return cases
        cases = self._read(self._ordered(chosen, kind, count, without))
        if count <= _MOST_REMEMBERED:
            self._remember(key, cases)
        return cases

    def both(self, chosen: RowSelection, count: int) -> list[dict[str, Any]]:
        """The first ``count`` cases of both kinds, failures first, each image once."""
        worst = self.first(chosen, WORST, count)
        if len(worst) == count:
            return worst
        positions = [row["position"] for row in worst]
        return [*worst, *self.first(chosen, SURVIVORS, count - len(worst), positions)]

    def _ordered(
        self, chosen: RowSelection, kind: str, count: int, without: Sequence[int]
    ) -> list[int]:
        """The rows of the first ``count`` cases, by a query."""
        where, values = self._where(chosen)
        ranking = _RANKING[kind]
        if self._rows.score and kind == WORST:
            ranking = "score - clean_score"
        entries = self._rows.ask(
            f"SELECT min(row({ranking}, {ROW})) AS entry FROM rows "
            f"WHERE {where} AND {_OUTCOMES[kind]} AND NOT list_contains($without, position) "
            "GROUP BY position ORDER BY entry LIMIT $count",
            **values,
            without=list(without) or [-1],
            count=count,
        )
        return [entry[-1] for (entry,) in entries]

    def _read(self, order: Sequence[int]) -> list[dict[str, Any]]:
        """The cases in the rows ``order``."""
        if not order:
            return []
        columns = ["position", *CASE_COLUMNS[1:]]  # the rows have no names of images
        if self._rows.score:
            columns += SCORES
        rows = self._rows.ask(
            f"SELECT {ROW} AS number, {', '.join(columns)} FROM rows "
            "WHERE position IN (SELECT unnest($positions)) AND number IN (SELECT unnest($numbers))",
            positions=[row >> 32 for row in order],
            numbers=list(order),
        )
        values_by_row = {number: values for number, *values in rows}
        cases = []
        for row in order:
            case = dict(zip(columns, values_by_row[row], strict=True))
            cases.append({"image": self._rows.names[case["position"]], **case})
        return cases

    def _where(self, chosen: RowSelection) -> tuple[str, dict[str, Any]]:
        """The condition on the rows, and the values that it and the queries name."""
        values: dict[str, Any] = {}
        parts = ["true"]
        if chosen.model:
            parts.append("model = $model")
            values["model"] = chosen.model
        profiles = self._rows.spec.profiles
        if compositions := profiles.get(chosen.perturbation):
            parts.append("list_contains($compositions, condition)")
            values["compositions"] = list(compositions)
        elif chosen.perturbation:
            parts.append("perturbation = $perturbation")
            values["perturbation"] = chosen.perturbation
        if chosen.conditions:
            parts.append("list_contains($conditions, condition)")
            values["conditions"] = [
                text for name in chosen.conditions for text in profiles.get(name, (name,))
            ]
        if chosen.classes:
            parts.append(
                "list_contains($classes, coalesce(label, clean_top1)::INTEGER) AND "
                "list_contains($pairs, model || ' ' || coalesce(label, clean_top1)::VARCHAR)"
            )
            values["classes"] = sorted({index for _, index in chosen.classes})
            values["pairs"] = [f"{model} {index}" for model, index in chosen.classes]
        if chosen.became:
            parts.append("clean_top1 = $before AND top1 = $after")
            values["before"], values["after"] = chosen.became
        if chosen.against:
            well = self._rows.judged_by  # NULL without a label
            # Rows of attacks are left out, as each model was attacked on an image of its own.
            parts.append(
                f"NOT attacked AND NOT {well} AND EXISTS (SELECT 1 FROM rows AS other WHERE "
                "other.position = rows.position AND other.condition = rows.condition "
                f"AND other.model = $against AND other.{well})"
            )
            values["against"] = chosen.against
        for index, positions in enumerate(self._positions(chosen)):
            name = f"positions{index}"
            parts.append(f"position IN (SELECT unnest(${name}::INTEGER[]))")
            values[name] = positions
        return " AND ".join(parts), values

    def _positions(self, chosen: RowSelection) -> Iterator[list[int]]:
        """The positions of each part of ``chosen`` that is about images."""
        if chosen.positions:
            yield list(chosen.positions)
        table = self._properties
        for column, value in chosen.slices:
            if table is None or column not in table.column_names[1:]:
                columns = "none" if table is None else ", ".join(table.column_names[1:])
                raise ParameterError(
                    f"Expected a property of this run's images ({columns}), got {column!r}."
                )
            is_inside = inside(table[column].to_pylist(), value)
            positions = table["position"].to_numpy()[is_inside].tolist()
            yield positions or [-1]  # no image has this position, so no row is chosen

    def _remember(self, key: Any, answer: Any) -> None:
        if len(self._answers) >= _REMEMBERED:
            self._answers.clear()
        self._answers[key] = answer


NO_PROPERTIES = "Unknown: no properties of the images were measured, which slices need."

ONLY_COLUMNS = (
    "Slices use the columns of the table alone: no image file could be read to measure its "
    "brightness and other properties."
)

MOST_CELLS = 4_000_000
"""Images times conditions that the tables rest on; of larger runs they rest on some images."""

MOST_CHANGES = 20
"""Changes that are kept of each model and condition."""

ONCE_FINISHED = "Unknown until the run is finished."

SAMPLED = "Slices, changes, agreement and confidence use {:,} images drawn at random."

Places = NDArray[np.int64]
Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Failures:
    """Where the models fail; each table is JSON-ready.

    ``quantity`` is what counts as going well: "perturbed_accuracy" or, with few labels,
    "consistency". In a run of scores it is the mean of the one that is called ``score``. ``slices``
    are those of ``image_slices.by_slice``, ``changes`` those of ``changes_by_condition``, ``pairs``
    and ``majority`` those of ``statistics``, ``thresholds`` those of ``safe_thresholds``, and
    ``risk_coverage`` those of ``curves`` beside it. Entries about images have their ``selection``,
    the text of a ``RowSelection``. ``unknown`` holds sentences on what this run cannot tell.
    """

    quantity: str
    slices: Entries
    changes: Entries
    pairs: Entries
    majority: Entries
    thresholds: Entries
    risk_coverage: Entries
    unknown: Sequence[str]
    score: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        document = asdict(self)
        if not self.score:
            del document["score"]
        return document


def failure_tables(rows: Rows, properties: pa.Table | None) -> Failures:
    """The failures in ``rows``, whose images have these ``properties``."""
    grids, sample = _sampled(rows)
    column = rows.judged_by if grids else "consistent"
    unknown = []
    if properties is None:
        unknown.append(NO_PROPERTIES)
    elif not are_measured(properties):
        unknown.append(ONLY_COLUMNS)
    if len(sample) < len(rows.axes.images):
        unknown.append(SAMPLED.format(len(sample)))
    slices_of_models = _slices(rows, grids, column, properties, sample)
    if rows.score:  # the other tables are about predictions
        return Failures(
            quantity="perturbed_accuracy",
            slices=slices_of_models,
            changes=(),
            pairs=(),
            majority=(),
            thresholds=(),
            risk_coverage=(),
            unknown=unknown,
            score=rows.score,
        )
    pairs = model_pairs.by_pair(grids, column)
    for pair in pairs:
        first = pair["model"]
        second = pair["other"]
        pair["model_selection"] = RowSelection(model=first, against=second).text
        pair["other_selection"] = RowSelection(model=second, against=first).text
    drawn = _draw_of_profiles(rows, grids, sample)
    return Failures(
        quantity="perturbed_accuracy" if column == "correct" else "consistency",
        slices=slices_of_models,
        changes=changes_by_condition(grids),
        pairs=pairs,
        majority=model_pairs.majorities(grids, column),
        thresholds=threshold.safe_thresholds(_certifying(rows, drawn, sample), column),
        risk_coverage=threshold.curves(drawn, column),
        unknown=unknown,
    )


def safe_thresholds(
    rows: Rows,
    max_error: float = threshold.MAX_ERROR,
    promise: threshold.Promise = "suite",
    groups: Mapping[str, str] | None = None,
) -> Entries:
    """``safe_thresholds`` of the images that other tables rest on, too.

    Those of models with a temperature rest on the images that fit none.
    """
    grids, sample = _sampled(rows)
    column = rows.judged_by if grids else "consistent"
    certifying = _certifying(rows, _draw_of_profiles(rows, grids, sample), sample)
    return threshold.safe_thresholds(certifying, column, max_error, promise, groups)


def _sampled(rows: Rows) -> tuple[list[Grid], Places]:
    """The grids of the images to look at, and the places of these among all."""
    grids = rows.grids()
    if not grids:
        return [], np.arange(0)
    image_count, condition_count = grids[0].has_row.shape
    most = max(1, MOST_CELLS // condition_count)
    if image_count <= most:
        return grids, np.arange(image_count)
    sample = np.sort(np.random.default_rng(0).choice(image_count, most, replace=False))
    return [part_of(grid, sample) for grid in grids], sample


def _draw_of_profiles(rows: Rows, grids: Sequence[Grid], sample: Places) -> list[Grid]:
    """``grids`` with one random composition of each profile an image: images are independent."""
    return [draw_compositions(grid, lambda: rows.draws[sample]) for grid in grids]


def _certifying(rows: Rows, grids: Sequence[Grid], sample: Places) -> Sequence[Grid]:
    """``grids``, those of models with a temperature without the images that it was fitted on."""
    calibrated = {name for name, digest in rows.spec.models if is_calibrated(digest)}
    if not calibrated or not grids:
        return grids
    digests = rows.axes.digests[sample]
    rest = np.flatnonzero([not fits_temperature(digest) for digest in digests])
    return [part_of(grid, rest) if grid.model in calibrated else grid for grid in grids]


def _slices(
    rows: Rows,
    grids: Sequence[Grid],
    column: str,
    properties: pa.Table | None,
    sample: Places,
) -> list[dict[str, Any]]:
    if properties is None or not grids:
        return []
    row_of = {position: row for row, position in enumerate(properties["position"].to_pylist())}
    positions = rows.axes.positions[rows.axes.image_of >= 0][sample]
    property_rows = [row_of.get(position) for position in positions.tolist()]
    table = properties.take(pa.array(property_rows, pa.int64()))
    names = []
    values = []
    for grid in grids:
        per_image = pool_profiles(grid).per_image(column)
        if not np.isnan(per_image).all():
            names.append(grid.model)
            values.append(per_image)
    columns = {name: table[name].to_pylist() for name in table.column_names[1:]}
    entries = by_slice(names, values, slices(columns))
    for entry in entries:
        image_slice = (entry["column"], entry["value"])
        entry["selection"] = RowSelection(model=entry["model"], slices=(image_slice,)).text
    return entries


def changes_by_condition(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """The most frequent changes of each model under each condition, and under any ("").

    Under any condition, as under any composition of a profile, an image counts once for each
    change. An attack counts where it had a
    prediction to break, as in the consistency.

    Keys: ``model``, ``condition``, ``before`` and ``after`` (names of classes), ``n_images``,
    ``share`` (of all changes) and ``selection``.
    """
    # One grid after the other, as its arrays are large.
    changes_by_model = {grid.model: _most_frequent_changes(grid) for grid in grids}
    conditions = {key.id for grid in grids for key in profile_groups(grid.conditions)}
    entries = []
    for group in ([""], sorted(conditions)):
        for model in sorted(changes_by_model):
            for condition in group:
                for change in changes_by_model[model][condition]:
                    entries.append(change.entry(model, condition))
    return entries


class _Change(NamedTuple):
    """A change of the prediction from one class to another, and how many images have it."""

    before: int
    after: int
    images: int
    all_changes: int

    def entry(self, model: str, condition: str) -> dict[str, Any]:
        selection = RowSelection(
            model=model,
            conditions=(condition,) if condition else (),
            became=(self.before, self.after),
        )
        return {
            "model": model,
            "condition": condition,
            "before": models.class_name(model, self.before),
            "after": models.class_name(model, self.after),
            "n_images": self.images,
            "share": self.images / self.all_changes,
            "selection": selection.text,
        }


def _most_frequent_changes(grid: Grid) -> dict[str, list[_Change]]:
    """The changes of a model by condition, and under any condition as that of "".

    A change is counted as one number, the class before times the number of classes plus the class
    after, which is -1 where nothing changed.
    """
    before = grid.values("clean_top1")
    after = grid.values("top1")
    is_changed = (grid.flags("consistent") == 0) & ~np.isnan(before) & ~np.isnan(after)
    class_count = 1 + int(np.where(is_changed, np.maximum(before, after), 0).max(initial=0))
    codes = np.where(is_changed, before * class_count + after, -1)
    codes = codes.astype(np.int64).T  # (conditions, images)
    changes = {"": _counted_changes(codes, class_count)}
    for key, columns in profile_groups(grid.conditions).items():
        changes[key.id] = _counted_changes(codes[columns], class_count)
    return changes


def _counted_changes(codes: NDArray[np.int64], class_count: int) -> list[_Change]:
    """The most frequent changes among ``codes`` (conditions, images), each once for an image."""
    changes = codes[codes >= 0]
    if len(codes) > 1:
        # An image may have a change under several conditions: sorted by image and change, repeats
        # are neighbours. This takes a tenth of the time of np.unique.
        _, images = np.nonzero(codes >= 0)
        image_changes = np.sort(images * class_count**2 + changes)
        is_new = np.diff(image_changes, prepend=-1) > 0
        changes = image_changes[is_new] % class_count**2
    distinct, counts = np.unique(changes, return_counts=True)
    order = np.lexsort((distinct, -counts))[:MOST_CHANGES]
    most_frequent = []
    for code, count in zip(distinct[order].tolist(), counts[order].tolist(), strict=True):
        before, after = divmod(code, class_count)
        most_frequent.append(_Change(before, after, count, len(changes)))
    return most_frequent
