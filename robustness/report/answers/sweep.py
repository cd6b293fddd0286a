"""What a sweep answers, in three sentences that claim no more than it shows."""

from __future__ import annotations

from collections.abc import Sequence

from robustness import models
from robustness.base.text import counted
from robustness.evaluation.condition import perturbation_label
from robustness.evaluation.sweep import TOLERANCE, Break, most_fragile
from robustness.perturbations import REGISTRY
from robustness.report.wording import listed, model, sentence


def answer(breaks: Sequence[Break], title: str) -> tuple[str, str, str]:
    """Three sentences on the ``breaks`` of one picture, called ``title``, one entry a pair."""
    groups = models.by_labels(dict.fromkeys(entry.model for entry in breaks))
    mine = [[entry for entry in breaks if entry.model in names] for _, names in groups]
    return (
        sentence(*(_first(group) for group in mine)),
        sentence(*_rest(breaks)),
        sentence(
            f"this is one picture, {title}, so it shows where these answers break and not where "
            "those to other pictures do",
            _grid(breaks),
            _seeds(breaks),
            _returns(breaks),
        ),
    )


def _first(group: Sequence[Break]) -> str:
    breaks = [entry for entry in group if entry.graded]
    if not breaks:
        return _switched(group)
    first = most_fragile(breaks)
    several = len({entry.perturbation for entry in breaks}) > 1
    if first is None or first.strength is None:
        what = "anywhere" if several else f"under {perturbation_label(breaks[0].perturbation)}"
        who = f"{model(breaks[0].model)} keeps" if len(breaks) == 1 else "no model changes"
        return f"{who} its answer {what}, up to strength 1"
    at = (
        f"strength {first.strength:.3f} ({REGISTRY[first.perturbation].value_text(first.strength)})"
    )
    where = f"under {perturbation_label(first.perturbation)}"
    if len(breaks) == 1:
        return f"{model(first.model)} breaks {where} at {at}"
    close = [entry for entry in breaks if entry is not first and _not_apart(first, entry)]
    if not close:
        return f"{model(first.model)} breaks first, {where} at {at}"
    names = listed([_name(entry, several) for entry in close])
    return (
        f"{model(first.model)} has the smallest breaking strength, {where} at {at}, but its range "
        f"overlaps that of {names}, so which breaks first is not established"
    )


def _name(entry: Break, several: bool) -> str:
    name = model(entry.model)
    return f"{name} under {perturbation_label(entry.perturbation)}" if several else name


def _not_apart(a: Break, b: Break) -> bool:
    """Whether the ranges in which two breaks lie overlap; an end that is None lies beyond 1."""
    (low_a, high_a), (low_b, high_b) = _range(a), _range(b)
    return low_a <= high_b and low_b <= high_a


def _range(entry: Break) -> tuple[float, float]:
    beyond = 2.0
    low = beyond if entry.low is None else entry.low
    high = beyond if entry.high is None else entry.high
    return (beyond, beyond) if entry.never and entry.repeats == 1 else (low, high)


def _switched(breaks: Sequence[Break]) -> str:
    """What perturbations did that are on or off: no strength of theirs is before another."""
    changed = [entry for entry in breaks if not entry.never]
    if len({entry.perturbation for entry in breaks}) > 1:
        return (
            f"switches, which are on or off and have no strength, change the answer in "
            f"{len(changed)} of {counted(len(breaks), 'case')}"
        )
    under = f"under {perturbation_label(breaks[0].perturbation)}"
    if not changed:
        who = f"{model(breaks[0].model)} keeps" if len(breaks) == 1 else "no model changes"
        return f"{who} its answer {under}"
    if len(changed) == len(breaks) > 1:
        return f"all {len(breaks)} models change their answer {under}"
    verb = "changes its" if len(changed) == 1 else "change their"
    return f"{listed([model(entry.model) for entry in changed])} {verb} answer {under}"


def _rest(breaks: Sequence[Break]) -> list[str]:
    graded = [entry for entry in breaks if entry.graded]
    switches = [entry for entry in breaks if not entry.graded]
    if not graded:
        return ["it is on or off, so there is no strength at which an answer breaks"]
    return [_last(graded), *([_switched(switches)] if switches else [])]


def _last(breaks: Sequence[Break]) -> str:
    never = [entry for entry in breaks if entry.never]
    several = len({entry.perturbation for entry in breaks}) > 1
    if len(breaks) == 1 and not (never and breaks[0].repeats > 1):
        return "nothing is said of other models, as only this one was asked"
    if not never:
        last = max(breaks, key=lambda entry: entry.strength or 0.0)
        return (
            f"the largest breaking strength is {last.strength or 0.0:.3f}, of "
            f"{_name(last, several)}, and none keeps its answer up to strength 1"
        )
    whole = (
        "in at least half of the repeats" if any(e.repeats > 1 for e in never) else "all the way"
    )
    if several:
        return f"{len(never)} of {len(breaks)} pairs keep the answer up to strength 1, {whole}"
    verb = "keeps its" if len(never) == 1 else "keep their"
    names = listed([model(entry.model) for entry in never])
    return f"{names} {verb} answer up to strength 1, {whole}"


def _grid(breaks: Sequence[Break]) -> str:
    """How closely it was looked; nothing where there are switches alone."""
    steps = {entry.grid for entry in breaks if entry.graded}
    if not steps:
        return ""
    return (
        f"changes were first seen on a grid of {max(steps):.2g}, and of {TOLERANCE:g} where the "
        "answer was close to changing, so one that comes and goes in between may be earlier"
    )


def _seeds(breaks: Sequence[Break]) -> str:
    most = max(entry.repeats for entry in breaks)
    if most == 1:
        return ""
    return f"each strength of a random perturbation is the median over {counted(most, 'seed')}"


def _returns(breaks: Sequence[Break]) -> str:
    back = [entry for entry in breaks if entry.returns]
    if not back:
        return ""
    cases = "in 1 case" if len(back) == 1 else f"in {len(back)} cases"
    return f"{cases} the clean answer comes back at a higher strength{with_seeds(back)}"


def with_seeds(returning: Sequence[Break]) -> str:
    """How often the clean answers of ``returning`` come back: nothing to add to a single sweep."""
    return ", with at least one seed" if any(entry.repeats > 1 for entry in returning) else ""
