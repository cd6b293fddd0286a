"""What a sweep answers, in three sentences that claim no more than it shows."""

from __future__ import annotations

from collections.abc import Sequence

from robustness import models
from robustness.base.text import counted
from robustness.charts.verdict import change, no_change
from robustness.evaluation.condition import perturbation_label
from robustness.evaluation.sweep import Break, most_fragile, resolution
from robustness.perturbations import REGISTRY
from robustness.report.wording import listed, model, sentence


def answer(breaks: Sequence[Break], title: str) -> tuple[str, str, str]:
    """Three sentences on the ``breaks`` of one image, called ``title``, one entry a pair."""
    groups = models.by_labels(dict.fromkeys(entry.model for entry in breaks))
    mine = [[entry for entry in breaks if entry.model in names] for _, names in groups]
    return (
        sentence(*(_first(group) for group in mine)),
        sentence(*_rest(breaks)),
        sentence(
            f"this is one image, {title}, so it shows where these predictions change and not where "
            "those of other images do",
            _grid(breaks),
            _seeds(breaks),
            _returns(breaks),
        ),
    )


def _first(group: Sequence[Break]) -> str:
    """Who is first of the models whose original prediction is correct, or of unknown class."""
    breaks = [entry for entry in group if entry.graded]
    if not breaks:
        return _switched(group)
    sound = [entry for entry in breaks if entry.clean_correct is not False]
    return "; ".join(filter(None, (_first_of(sound), _incorrect_before(breaks))))


def _first_of(breaks: Sequence[Break]) -> str:
    if not breaks:
        return ""
    first = most_fragile(breaks)
    several = len({entry.perturbation for entry in breaks}) > 1
    if first is None or first.strength is None:
        what = "anywhere" if several else f"under {perturbation_label(breaks[0].perturbation)}"
        if len(breaks) == 1:
            stays = no_change(breaks[0].clean_correct)
            return f"{model(breaks[0].model)} {stays} {what}, up to strength 1"
        return f"no model {_verb(breaks)} {what}, up to strength 1"
    at = (
        f"strength {first.strength:.3f} ({REGISTRY[first.perturbation].value_text(first.strength)})"
    )
    where = f"under {perturbation_label(first.perturbation)}"
    if len(breaks) == 1:
        return f"{model(first.model)} {_verb(breaks)} {where} at {at}"
    close = [entry for entry in breaks if entry is not first and _not_apart(first, entry)]
    if not close:
        return f"{model(first.model)} {_verb(breaks)} first, {where} at {at}"
    names = listed([_name(entry, several) for entry in close])
    return (
        f"{model(first.model)} {_verb(breaks)} at the smallest strength, {where} at {at}, but its "
        f"range overlaps that of {names}, so which is first is not known"
    )


def _verb(breaks: Sequence[Break]) -> str:
    """What all of ``breaks`` do, whose original predictions are not known to be incorrect."""
    known = all(entry.clean_correct for entry in breaks)
    return "becomes incorrect" if known else "changes its prediction"


def _incorrect_before(breaks: Sequence[Break]) -> str:
    """The models that are incorrect on the original, and where that changes."""
    wrong = [entry for entry in breaks if entry.clean_correct is False]
    if not wrong:
        return ""
    if len({entry.perturbation for entry in breaks}) > 1:
        mended = sum(entry.correct is True for entry in wrong)
        names = dict.fromkeys(model(entry.model) for entry in wrong)
        verb = "is" if len(names) == 1 else "are"
        return (
            f"{listed([*names])} {verb} incorrect on the original, and become"
            f"{'s' * (len(names) == 1)} correct in {mended} of {counted(len(wrong), 'case')}"
        )
    return "; ".join(f"{model(entry.model)} {_told(entry)}" for entry in wrong)


def _told(entry: Break) -> str:
    if entry.strength is None:
        return no_change(entry.clean_correct)
    where = f"at strength {entry.strength:.3f}" if entry.graded else "when switched on"
    return change(entry.clean_correct, entry.correct, where)


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
            f"switches, which are on or off and have no strength, change the prediction in "
            f"{len(changed)} of {counted(len(breaks), 'case')}"
        )
    under = f"under {perturbation_label(breaks[0].perturbation)}"
    if any(entry.clean_correct is not None for entry in breaks):
        return f"{under}, " + "; ".join(f"{model(entry.model)} {_told(entry)}" for entry in breaks)
    if not changed:
        who = model(breaks[0].model) if len(breaks) == 1 else "no model"
        verb = no_change(None) if len(breaks) == 1 else "changes its prediction"
        return f"{who} {verb} {under}"
    if len(changed) == len(breaks) > 1:
        return f"all {len(breaks)} models change their prediction {under}"
    verb = "changes its" if len(changed) == 1 else "change their"
    return f"{listed([model(entry.model) for entry in changed])} {verb} prediction {under}"


def _rest(breaks: Sequence[Break]) -> list[str]:
    graded = [entry for entry in breaks if entry.graded]
    switches = [entry for entry in breaks if not entry.graded]
    if not graded:
        return ["it is on or off, so there is no strength at which a prediction changes"]
    return [_last(graded), *([_switched(switches)] if switches else [])]


def _last(breaks: Sequence[Break]) -> str:
    """Which of ``breaks`` comes last; with a true class of those that were correct before."""
    if len(breaks) == 1 and not (breaks[0].never and breaks[0].repeats > 1):
        return "nothing is said of other models, as only this one was asked"
    asked = len(breaks)
    breaks = [entry for entry in breaks if entry.clean_correct is not False]
    never = [entry for entry in breaks if entry.never]
    several = len({entry.perturbation for entry in breaks}) > 1
    if not breaks:
        return "no model is correct on the original, so none becomes incorrect"
    if len(breaks) == 1 < asked:
        return "no other model is correct on the original"
    known = all(entry.clean_correct for entry in breaks)
    if not never:
        last = max(breaks, key=lambda entry: entry.strength or 0.0)
        return (
            f"the largest such strength is {last.strength or 0.0:.3f}, of {_name(last, several)}, "
            f"and none {'stays correct' if known else 'is unchanged'} up to strength 1"
        )
    whole = (
        "in at least half of the repeats" if any(e.repeats > 1 for e in never) else "all the way"
    )
    if several:
        state = "stay correct" if known else "do not change"
        return f"{len(never)} of {len(breaks)} pairs {state} up to strength 1, {whole}"
    one = len(never) == 1
    verb = f"stay{'s' * one} correct" if known else f"{'does' if one else 'do'} not change"
    names = listed([model(entry.model) for entry in never])
    return f"{names} {verb} up to strength 1, {whole}"


def coarsest(breaks: Sequence[Break]) -> str:
    """The coarsest resolution of ``breaks``; nothing where there are switches alone."""
    steps = [entry.grid for entry in breaks if entry.graded]
    return resolution(max(steps)) if steps else ""


def _grid(breaks: Sequence[Break]) -> str:
    """How closely it was looked; nothing where there are switches alone."""
    found = coarsest(breaks)
    if not found:
        return ""
    return (
        f"resolution of the strengths: {found} where the prediction was close to changing, so one "
        "that comes and goes between may be earlier"
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
    return f"{cases} the original prediction comes back at a higher strength{with_seeds(back)}"


def with_seeds(returning: Sequence[Break]) -> str:
    """How often the original predictions of ``returning`` come back; "" for a single sweep."""
    return ", with at least one seed" if any(entry.repeats > 1 for entry in returning) else ""
