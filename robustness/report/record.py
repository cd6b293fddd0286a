"""The record of a domain: a report of a domain's run that is filed and signed.

It says what was declared and tested, with which models, images and software, which limits the
results support, what is not covered, and what changed since an earlier record. As JSON it is read
back: ``Record`` has the keys of that file on which a later record relies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import Field

from robustness import models
from robustness.base.errors import ParameterError, RunError
from robustness.base.files import read_regular, reading
from robustness.base.options import fields_of
from robustness.base.text import counted, join_names, points, share
from robustness.base.validation import StrictRecord, checked, checked_json
from robustness.measure.condition import short
from robustness.measure.domain import Domain
from robustness.measure.options import ImageOptions
from robustness.perturbations import REGISTRY
from robustness.report import domain as report_domain
from robustness.report import methods
from robustness.report.blocks import (
    BRACKETS,
    Block,
    Data,
    Map,
    Printed,
    Report,
    RunFigures,
    Section,
    Text,
    Titled,
    model_label,
)
from robustness.report.domain import DOMAIN, declared, limit_text, rate, rate_and_outcome
from robustness.report.facts import shared_manifest
from robustness.report.formats import FORMATS, format_of
from robustness.report.run import cautions
from robustness.report.tables import Column, Entry, Table, with_interval
from robustness.runs import Analysis, Comparison, Run, compare
from robustness.statistics import TEST_SUMMARY
from robustness.statistics.domain import FIGURES, Judged, JudgedDomain
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN, UNTESTED
from robustness.statistics.pairs import OPEN, verdict_text

KIND: Literal["domain record"] = "domain record"

MOST_BYTES = 64 * 1024**2
"""The largest file that is read as an earlier record."""

SIGNATURES = 3
"""Lines to sign."""

_Word = Annotated[str, Field(max_length=256)]
_Words = Annotated[str, Field(max_length=4096)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]


class DeclaredRange(StrictRecord):
    """A range of strength of one perturbation."""

    strength: Annotated[list[float], Field(min_length=2, max_length=2)]
    requirement: _Words = ""
    source: _Words = ""


class DeclaredDomain(StrictRecord):
    """A domain as its file declares it, whose perturbations may not be known here."""

    name: _Words
    owner: _Words = ""
    min_accuracy: _Share | None = None
    min_consistency: _Share | None = None
    requirement: _Words = ""
    fit: _Words = ""
    side: int | None = None
    outside: list[_Words] = Field(default_factory=list)
    ranges: dict[_Word, DeclaredRange]


class TestedModel(StrictRecord):
    """A model: the digest of its weights, and how it sees the images."""

    weights: _Words
    preprocessing: _Words


class TestedImages(StrictRecord):
    """The images, and how they were chosen.

    ``digest`` is that of their list, and ``content`` that of their pixels, None in an unfinished
    run. ``limit`` keeps the first of the source, and ``sample`` draws from these with ``seed``;
    so many are ``chosen``.
    """

    title: _Words
    source: _Words
    digest: _Word
    content: _Word | None
    chosen: _Count
    evaluated: _Count
    unreadable: _Count
    labelled: _Count
    limit: int | None
    sample: int | None
    seed: int
    labelling: _Word


class RecordManifest(StrictRecord):
    """What was declared, and what it was tested with.

    ``score`` is the name of the score of a run of scores, whose mean the domain limits.
    """

    kind: Literal["domain record"]
    run: _Words
    created: _Word
    status: _Word
    domain: DeclaredDomain
    domain_digest: _Word
    models: dict[_Words, TestedModel]
    images: TestedImages
    versions: dict[_Word, _Word]
    plugins: dict[_Word, _Word]
    score: _Word = ""


class Result(StrictRecord):
    """A model under one condition of the domain.

    ``value``, ``low`` and ``high`` are shares, None where nothing was measured or has an interval.
    """

    model: _Words
    condition: _Words
    value: _Share | None
    low: _Share | None
    high: _Share | None
    images: _Count
    outcome: Literal["kept", "broken", "not shown", "untested"]
    requirements: list[_Words] = Field(default_factory=list)


class Record(StrictRecord):
    """What a later record compares with."""

    manifest: RecordManifest
    results: list[Result]


def read_record(path: Path) -> Record:
    """Return the record in the JSON file ``path``; raises ``ParameterError`` for anything else."""
    with reading(str(path)):
        text = read_regular(path, MOST_BYTES)
    try:
        return checked_json(Record, text)
    except ParameterError as error:
        raise ParameterError(
            f"{path}: expected a record in JSON, as `domain record` writes it. {error}"
        ) from error


def record_of(figures: RunFigures) -> Record:
    """Return what the run of ``figures`` says of its domain.

    Raises ``ParameterError`` for a run without a domain, and ``RunError`` for one without rows.
    """
    run = figures.run
    spec = run.manifest.spec
    domain = spec.domain
    if domain is None:
        raise ParameterError(
            f"Expected a run of a domain, got {run.id}, which has none: evaluate with a domain.",
            hint="That is evaluate --domain.",
        )
    if not run.row_count:
        raise RunError(f"The run {run.id} has no rows, so there is nothing to record.")
    dataset = run.manifest.dataset
    summary = figures.statistics.summary
    manifest = {
        "kind": KIND,
        "run": run.id,
        "created": run.manifest.created,
        "status": run.manifest.status,
        "domain": domain.as_dict(),
        "domain_digest": domain.digest,
        "models": {
            name: {"weights": digest, "preprocessing": spec.framing_of(name).text}
            for name, digest in spec.models
        },
        "images": {
            "title": run.title,
            "source": shared_manifest(run)["dataset"]["source"],
            "digest": dataset.digest,
            "content": run.manifest.content,
            "chosen": dataset.pictures,
            "evaluated": run.images,
            "unreadable": len(run.unreadable),
            "labelled": max(entry["n_labelled"] for entry in summary),
            "limit": dataset.limit,
            "sample": dataset.sample,
            "seed": spec.seed,
            "labelling": dataset.labelling,
        },
        "versions": dict(run.manifest.versions),
        "plugins": dict(run.manifest.plugins),
        "score": run.score,
    }
    results = []
    for judged in figures.answer(DOMAIN).judged:
        for each in judged.all:
            requirements = list(domain.requirements_of(each.condition))
            results.append({**each.as_dict(), "requirements": requirements})
    return checked(Record, {"manifest": manifest, "results": results})


# --- requirements ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requirement:
    """What a requirement asks of a model, and whether the results support it.

    ``id`` is "" for the limit of a domain that names no requirement. ``conditions`` are those for
    which it asks, the worst first.
    """

    id: str
    model: str
    conditions: Sequence[Judged]

    @property
    def worst(self) -> Judged:
        return self.conditions[0]

    @property
    def outcome(self) -> str:
        """The worst outcome of all its conditions."""
        return self.worst.outcome

    @property
    def counts(self) -> str:
        """How many conditions have each outcome: "9 broken, 5 not shown, 52 kept"."""
        number_of = Counter(each.outcome for each in self.conditions)
        outcomes = (BROKEN, UNTESTED, NOT_SHOWN, KEPT)
        return ", ".join(f"{number_of[name]} {name}" for name in outcomes if number_of[name])

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "requirement": self.id,
            "model": self.model,
            "conditions": len(self.conditions),
            "outcome": self.outcome,
            "worst": self.worst.as_dict(),
        }


def requirements_of(judged: JudgedDomain) -> list[Requirement]:
    """Return the requirements of a domain for a model, that of its limit first.

    A requirement of a range asks for all conditions in which its perturbation takes part.
    """
    domain = judged.domain
    ids = [domain.requirement, *(each.requirement for each in domain.ranges if each.requirement)]
    worst_first = sorted(judged.all, key=lambda each: each.sort_key)
    requirements = []
    for requirement in dict.fromkeys(ids):
        conditions = worst_first
        if requirement != domain.requirement:
            conditions = [
                each
                for each in worst_first
                if requirement in domain.requirements_of(each.condition)
            ]
        requirements.append(Requirement(requirement, judged.model, conditions))
    return requirements


def support(judged: JudgedDomain, score: str = "") -> str:
    """Return the sentence on whether the results support the limit of a domain for a model.

    ``score`` is the name of the score of a run of scores.
    """
    whole = requirements_of(judged)[0]
    limit = f"{limit_text(judged.domain, score)} for {model_label(judged.model)}"
    conditions = counted(len(whole.conditions), "condition")
    if whole.outcome == KEPT:
        return f"The results support {limit} under all {conditions} tested."
    if all(each.value is None for each in whole.conditions):
        return f"The results show nothing of {limit}: it was not measured."
    return f"The results do not support {limit} everywhere; of {conditions}: {whole.counts}."


def _requirements_table(domain: Domain, all_judged: Sequence[JudgedDomain], score: str) -> Titled:
    requirements = [each for judged in all_judged for each in requirements_of(judged)]

    def asked(each: Requirement) -> str:
        return each.id or "none named"

    def scope(each: Requirement) -> str:
        where = "everywhere"
        if each.id != domain.requirement:
            labels = [one.record.label for one in domain.ranges if one.requirement == each.id]
            where = f"with {join_names(labels, len(labels))}"
        return f"{limit_text(domain, score)}, {where}"

    columns: list[Column] = [
        ("Requirement", asked),
        ("Model", lambda each: model_label(each.model)),
        ("Limit", scope),
        ("Lowest result", lambda each: f"{rate(each.worst)}: {each.worst.condition.short}"),
        ("Conditions", lambda each: each.counts),
        ("Outcome", lambda each: each.outcome),
    ]
    return Titled("Requirements, limits and results", Table.of(requirements, columns))


# --- what was tested ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Covered:
    """How many of all things of a kind were tested."""

    what: str
    tested: int
    total: int

    @property
    def text(self) -> str:
        if self.tested == self.total:
            return f"all {self.total:,}"
        return f"{self.tested:,} of {self.total:,} ({share(self.tested / self.total, 0)})"


def coverage(judged: JudgedDomain) -> list[Covered]:
    """Return how much of its domain was tested on the model of ``judged``."""
    domain = judged.domain
    singles = [each for each in judged.singles if each.outcome != UNTESTED]
    pairs = [each for each in judged.pairs if each.outcome != UNTESTED]
    rows = [each.condition for each in judged.array if each.outcome != UNTESTED]
    covered = [
        Covered(
            "Perturbations alone, in the middle and at the limit", len(singles), len(domain.ranges)
        ),
        Covered("Pairs of perturbations, middle and limit", len(pairs), len(domain.pairs)),
        Covered("Combinations of all ranges", len(rows), len(domain.array)),
        Covered("Two levels of two ranges together", *domain.levels_together(rows, 2)),
    ]
    if len(domain.ranges) > 2:
        triples = domain.levels_together(rows, 3)
        covered.append(Covered("Three levels of three ranges together", *triples))
    return covered


def _domain_blocks(domain: Domain, judged: JudgedDomain, score: str) -> list[Block]:
    """Return what ``domain`` declares and what of it was tested, which is the same for all models.

    ``judged`` is one of the models, and ``score`` the name of the score of a run of scores.
    """
    columns: list[Column] = [
        ("Of the domain", lambda each: each.what),
        ("Tested", lambda each: each.text),
    ]
    blocks: list[Block] = []
    for block in declared(domain, score):
        if isinstance(block, Titled):
            block = replace(block, long=False)  # a record is about it
        blocks.append(block)
    blocks += [
        Text(f"SHA-256 of the declared domain: {domain.digest}"),
        Titled("What was tested", Table.of(coverage(judged), columns)),
        Text(
            "Not covered: strengths between the levels, combinations of levels that share no row, "
            "and perturbations that the domain does not name."
        ),
    ]
    if not domain.outside:
        blocks.append(Text("The domain names nothing outside what was tested."))
    return blocks


Facts = Mapping[str, str]
"""Texts by what they tell."""


def _domain_facts(manifest: RecordManifest) -> Facts:
    domain = manifest.domain
    facts = {"Domain": domain.name, "Owner": domain.owner, "Requirement": domain.requirement}
    bound = domain.min_accuracy
    quantity = f"mean {manifest.score}" if manifest.score else "accuracy"
    if bound is None:
        bound = domain.min_consistency
        quantity = "consistency"
    facts["Limit"] = "" if bound is None else f"{quantity} of at least {100 * bound:g}%"
    side = "" if domain.side is None else f"{domain.side} px"
    facts["Preprocessing of all models"] = " at ".join(filter(None, (domain.fit, side)))
    facts["Outside what is tested"] = "; ".join(domain.outside)
    for name, each in domain.ranges.items():
        low, high = each.strength
        label = REGISTRY[name].label if REGISTRY.find(name) else name
        parts = (f"{low:g} to {high:g}", each.requirement, each.source)
        facts[f"Range of {label}"] = "; ".join(filter(None, parts))
    facts["Digest"] = manifest.domain_digest
    return _filled(facts)


def _model_facts(manifest: RecordManifest) -> Facts:
    facts = {}
    for name, model in manifest.models.items():
        facts[f"Weights of {models.label(name)}"] = model.weights
        facts[f"Preprocessing of {models.label(name)}"] = model.preprocessing
    return facts


_LABELLINGS = fields_of(ImageOptions)["labelling"].option.choices or {}


def _image_facts(manifest: RecordManifest) -> Facts:
    images = manifest.images
    chosen = "all"
    if images.limit is not None:
        chosen = f"the first {images.limit:,}"
    if images.sample is not None:
        chosen = f"up to {images.sample:,} of {chosen}, drawn at random with seed {images.seed}"
    labelled = ""
    labelling = ""
    if not manifest.score:
        labelled = f"{images.labelled:,}"
        labelling = _LABELLINGS.get(images.labelling, images.labelling)
    return _filled(
        {
            "Source": images.source,
            "Evaluated": f"{images.evaluated:,}",
            "With a class": labelled,
            "Left out, unreadable": f"{images.unreadable:,}",
            "Chosen": f"{images.chosen:,}: {chosen}",
            "Classes": labelling,
            "Digest of the list": images.digest,
            "Digest of the pixels": images.content or "",
            "Seed": str(images.seed),
        }
    )


def _version_facts(manifest: RecordManifest) -> Facts:
    plugins = {f"Plugin {name}": digest for name, digest in manifest.plugins.items()}
    return {**manifest.versions, **plugins}


def _filled(facts: Facts) -> Facts:
    return {name: text for name, text in facts.items() if text}


_FACTS = {
    "domain": _domain_facts,
    "models": _model_facts,
    "images": _image_facts,
    "versions": _version_facts,
}
"""What two records may differ in."""


_MODEL_COLUMNS: list[Column] = [
    ("Model", lambda entry: model_label(entry[0])),
    ("Weights", lambda entry: entry[1].weights),
    ("Preprocessing", lambda entry: entry[1].preprocessing),
]


# --- what changed ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A model under a condition of two records; ``difference`` is that of a paired test, if any."""

    before: Judged
    now: Judged
    difference: Entry | None = None

    @property
    def has_other_outcome(self) -> bool:
        return self.before.outcome != self.now.outcome

    @property
    def significant(self) -> bool:
        return self.difference is not None and self.difference["verdict"] not in (None, OPEN)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.now.model,
            "condition": self.now.condition.id,
            "before": self.before.as_dict(),
            "now": self.now.as_dict(),
            "paired": self.difference,
        }


@dataclass(frozen=True)
class Changes:
    """What changed since an earlier record.

    ``differences`` are (part, what, before, now) of what was declared and used, and ``cells`` the
    models under the conditions that both records have. ``images`` counts those of the paired test,
    0 without one, and ``untested`` says why there is none.
    """

    since: RecordManifest
    differences: Sequence[tuple[str, str, str, str]]
    cells: Sequence[Change]
    images: int = 0
    untested: str = ""

    @property
    def outcomes(self) -> list[Change]:
        """The cells with another outcome or a significant difference, the worst first."""
        cells = [each for each in self.cells if each.has_other_outcome or each.significant]
        return sorted(cells, key=lambda each: each.now.sort_key)

    @property
    def sentence(self) -> str:
        """What changed, in a line or two."""
        parts = list(dict.fromkeys(part for part, *_ in self.differences))
        same = [part for part in _FACTS if part not in parts]
        texts = []
        if not self.cells:
            texts.append("No model has a condition in both records.")
        else:
            moves = Counter(
                f"{each.before.outcome} → {each.now.outcome}"
                for each in self.cells
                if each.has_other_outcome
            )
            changed = (
                f"{sum(moves.values()) or 'None'} of {counted(len(self.cells), 'shared outcome')}"
            )
            told = ", ".join(f"{count} {move}" for move, count in moves.items())
            texts.append(f"{changed} changed{f': {told}' if told else ''}.")
        if parts:
            texts.append(f"Different: {join_names(parts, len(parts))}.")
        if same:
            texts.append(f"The same: {join_names(same, len(same))}.")
        return " ".join(texts)


def changes_since(figures: RunFigures, since: Record | Run) -> Changes:
    """Return what changed in the run of ``figures`` since an earlier record, or the run of one.

    Predictions are compared in pairs where ``since`` is a run with the same images. Raises as
    ``record_of`` and ``compare``.
    """
    comparison: Comparison | None = None
    untested = (
        "A record has no predictions to pair: name the earlier run for a test of differences."
    )
    if isinstance(since, Run):
        comparison = compare(since, figures.run)
        earlier = record_of(RunFigures(Analysis(since)))
        untested = "The runs share no images, so their differences are not tested."
    else:
        earlier = since
    before = {(each.model, each.condition): each for each in earlier.results}
    paired = {} if comparison is None else _paired(comparison, figures)
    cells = []
    for judged in figures.answer(DOMAIN).judged:
        for now in judged.all:
            key = (now.model, now.condition.id)
            if key not in before:
                continue
            result = before[key]
            then = replace(
                now,
                value=result.value,
                low=result.low,
                high=result.high,
                images=result.images,
                outcome=result.outcome,
            )
            cells.append(Change(then, now, paired.get(key)))
    differences = list(_differences(earlier.manifest, record_of(figures).manifest))
    images = 0
    if comparison is not None and paired:
        images = comparison.images
        untested = ""
    return Changes(earlier.manifest, differences, cells, images, untested)


def _differences(
    before: RecordManifest, now: RecordManifest
) -> Iterator[tuple[str, str, str, str]]:
    """Yield the part, what differs, and its text before and now."""
    for part, facts_of in _FACTS.items():
        earlier = facts_of(before)
        later = facts_of(now)
        for name in dict.fromkeys([*later, *earlier]):
            old = earlier.get(name, "none")
            new = later.get(name, "none")
            if old != new:
                yield part, name, old, new


def _paired(comparison: Comparison, figures: RunFigures) -> dict[tuple[str, str], Entry]:
    """Return the paired difference of the domain's quantity by model and condition."""
    domain = figures.run.manifest.spec.domain
    assert domain is not None
    quantity = FIGURES[domain.limit[0]]
    paired: dict[tuple[str, str], Entry] = {}
    for entry in comparison.differences:
        if entry["condition"] is None or entry[f"{quantity}_difference"] is None:
            continue
        paired[entry["model"], entry["condition"]] = {
            "images": entry[f"{quantity}_images"],
            "difference": entry[f"{quantity}_difference"],
            "difference_low": entry[f"{quantity}_difference_low"],
            "difference_high": entry[f"{quantity}_difference_high"],
            "p": entry[f"{quantity}_p"],
            "verdict": entry[f"{quantity}_verdict"],
        }
    return paired


def _changes_blocks(changes: Changes) -> list[Text | Titled]:
    blocks: list[Text | Titled] = [Text(changes.sentence)]
    if changes.differences:
        head = ("Part", "What", "Before", "Now")
        blocks.append(Titled("Declared and used", Table(head, list(changes.differences))))
    columns: list[Column] = [
        ("Model", lambda each: model_label(each.now.model)),
        ("Condition", lambda each: short(each.now.condition.id)),
        ("Before", lambda each: rate_and_outcome(each.before)),
        ("Now", lambda each: rate_and_outcome(each.now)),
        ("Change, points", _change),
        ("Paired test", _verdict),
    ]
    if changes.outcomes:
        table = Table.of_filled(changes.outcomes, columns)
        blocks.append(Titled("Outcomes that changed, and significant changes", table))
    if any(what == "Limit" for _, what, *_ in changes.differences):
        blocks.append(Text("The limit differs: each outcome is by the limit of its own record."))
    if changes.images:
        images = counted(changes.images, "shared image")
        blocks.append(Text(f"Tested on {images}, in pairs. {TEST_SUMMARY}"))
    elif changes.cells:
        blocks.append(Text(changes.untested))
    return blocks


def _change(change: Change) -> str:
    if change.difference is None:
        return ""
    return with_interval(change.difference, "difference", points)


def _verdict(change: Change) -> str:
    if change.difference is None or change.difference["verdict"] is None:
        return ""
    return verdict_text(change.difference["verdict"])


# --- the report -----------------------------------------------------------------------------------


LIMITS = (
    "This record tells what was measured on these images under simulated perturbations. Whether "
    "that suffices for a use is for those who sign.",
    "A limit is kept where the whole 95% interval is above it, broken where it is below, and "
    "otherwise not shown. Each interval stands for itself: of twenty conditions just at the limit, "
    "one may be called broken or kept by chance. The lowest of results that are nearly alike is a "
    "little too low; images that did not choose it judge the worst composition.",
)

NOTES = ("Rates", "Intervals", methods.DOMAIN)
"""Titles of the notes on methods."""

NOTES_ON_SCORES = ("Scores", "Intervals", methods.DOMAIN)
"""The same in the record of a run of scores."""


def of_record(figures: RunFigures, since: Record | Run | None = None) -> Report:
    """Return the record of the run of ``figures``, which may be unfinished.

    ``since`` is an earlier record, or its run, to compare with. Raises as ``record_of`` and
    ``changes_since``.
    """
    record = record_of(figures)
    run = figures.run
    domain = run.manifest.spec.domain
    assert domain is not None
    all_judged = figures.answer(DOMAIN).judged
    changes = None if since is None else changes_since(figures, since)
    answers = [
        (
            f"Do the results support the limit for {model_label(judged.model)}?",
            support(judged, run.score),
        )
        for judged in all_judged
    ]
    manifest = record.manifest
    sections = [
        Section("Requirements", [_requirements_table(domain, all_judged, run.score)]),
        Section("Results", report_domain.results(figures.answer(DOMAIN))),
        Section(
            "The domain, and what of it was tested",
            _domain_blocks(domain, all_judged[0], run.score),
        ),
        Section("Models, images and software", _used_blocks(manifest)),
        Section("Signatures", [_signatures()]),
    ]
    notes = [
        f"{title}. {methods.note(title)}" for title in (NOTES_ON_SCORES if run.score else NOTES)
    ]
    tables: dict[str, Sequence[Entry]] = {
        "requirements": [
            each.as_dict() for judged in all_judged for each in requirements_of(judged)
        ],
        "coverage": [vars(each) for each in coverage(all_judged[0])],
        "results": [each.model_dump(mode="json") for each in record.results],
    }
    for name, entries in DOMAIN.tables(figures.answer(DOMAIN)).items():
        if name != "domain":  # which the results are
            tables[name] = entries
    if changes is not None:
        answers.append((f"What changed since {_named(changes.since)}?", changes.sentence))
        sections.insert(2, Section(f"Since {_named(changes.since)}", _changes_blocks(changes)))
        notes.append(f"Comparing models. {methods.note('Comparing models')}")
        tables["since"] = [_identity(changes.since)]
        head = ("part", "what", "before", "now")
        tables["differences"] = [dict(zip(head, each, strict=True)) for each in changes.differences]
        tables["changes"] = [each.as_dict() for each in changes.outcomes]
    return Report(
        title=f"Record of the domain {domain.name}: {_subject(manifest)} on {run.title}",
        answers=answers,
        facts=_report_facts(manifest),
        cautions=cautions(figures),
        sections=sections,
        brief=[block for section in sections for block in section.printed if _is_brief(block)],
        methods=[Text(text) for text in notes],
        limits=[*LIMITS, *methods.limits(has_scores=bool(run.score))],
        manifest=manifest.model_dump(mode="json", exclude_defaults=True),
        replay=(
            "`python -m robustness domain record RUN --to FILE` makes this record again; RUN is "
            "the folder of the run."
        ),
        data=Data(None, tables),
        note=BRACKETS,
    )


def check_format(path: Path) -> None:
    """Raise ``ParameterError`` unless ``path`` has the suffix of a format that a record has."""
    if format_of(path).rows_only:
        suffixes = [suffix for suffix, each in FORMATS.items() if not each.rows_only]
        raise ParameterError(
            f"Expected a record to end in {', '.join(suffixes)}, got {str(path)!r}: it has no "
            "rows, which the report of the run has.",
            hint="That is --to.",
        )


def _subject(manifest: RecordManifest) -> str:
    names = list(manifest.models)
    return model_label(names[0]) if len(names) == 1 else counted(len(names), "model")


def _report_facts(manifest: RecordManifest) -> list[tuple[str, str]]:
    return [
        ("Run", manifest.run),
        ("Evaluated", _minute(manifest.created)),
        *((name, text) for name, text in _domain_facts(manifest).items() if name in _HEAD),
    ]


_HEAD = ("Domain", "Owner", "Requirement", "Limit")
"""Facts of a domain that a record begins with."""


def _minute(created: str) -> str:
    """An ISO time such as 2026-01-02T03:04:05+00:00, to the minute."""
    return f"{created[:16].replace('T', ' ')} UTC"


def _named(manifest: RecordManifest) -> str:
    return f"{manifest.run} ({manifest.created[:10]})"


def _identity(manifest: RecordManifest) -> dict[str, str]:
    return {
        "run": manifest.run,
        "created": manifest.created,
        "domain_digest": manifest.domain_digest,
    }


def _used_blocks(manifest: RecordManifest) -> list[Block]:
    """Return the models, images and versions of the software."""
    return [
        Titled("Models", Table.of(list(manifest.models.items()), _MODEL_COLUMNS)),
        Titled("Images", Table(("Property", "Value"), list(_image_facts(manifest).items()))),
        Titled("Software", Table(("Package", "Version"), list(_version_facts(manifest).items()))),
    ]


def _signatures() -> Titled:
    head = ("Name", "Role", "Date", "Signature")
    return Titled("Reviewed by", Table(head, [("",) * len(head)] * SIGNATURES))


def _is_brief(block: Printed) -> TypeGuard[Titled | Text | Map]:
    return isinstance(block, Titled | Text | Map)
