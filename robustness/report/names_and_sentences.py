"""Numbers and lists in sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from robustness import models
from robustness.base.text import all_of, figure_text, join_names, visible
from robustness.charts.ranking_and_condition_tables import Column, Entry, with_interval
from robustness.statistics import robustness_ranking_and_verdicts
from robustness.statistics.model_choice import NAMES


def model(name: str) -> str:
    """The readable name of a model, on one line."""
    return visible(models.label(name))


MODEL: Column = ("Model", lambda entry: model(entry["model"]))
"""The first column of a table of models."""


def class_title(name: str, index: int) -> str:
    """What the model called ``name`` calls its class ``index``, on one line."""
    return visible(models.class_name(name, index))


def models_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """The labels of the models of ``entries``."""
    return join_names([model(entry["model"]) for entry in entries])


def sentence(*clauses: str, names: Iterable[str] = ()) -> str:
    """One sentence of ``clauses``, the empty ones left out.

    It begins with a capital letter, unless it begins with one of the models ``names``.
    """
    text = "; ".join(clause for clause in clauses if clause)
    labels = "|".join(re.escape(model(name)) for name in dict.fromkeys(names))
    if labels and re.match(rf"(?:{labels})(?!\w)", text):
        return f"{text}."
    return f"{text[0].upper()}{text[1:]}."


def code_parts(text: str) -> list[tuple[str, bool]]:
    """The parts of ``text``, each with whether it is code, which stands between backticks."""
    return [(part, bool(at % 2)) for at, part in enumerate(text.split("`"))]


def visible_part(text: str) -> str:
    """``text`` made ``visible``, with the space at either end that parts it from its neighbours."""
    before = " " if text[:1].isspace() else ""
    after = " " if text[-1:].isspace() else ""
    return f"{before}{visible(text)}{after}"


def folded(value: Any, width: int = 90, indent: int = 0) -> str:
    """``value`` as JSON in ASCII, whatever fits into ``width`` on one line."""
    line = json.dumps(value, allow_nan=False)
    if len(line) + indent <= width or not isinstance(value, Mapping | list | tuple):
        return line
    inner, outer = " " * (indent + 1), " " * indent
    if isinstance(value, Mapping):
        parts = [
            f"{inner}{json.dumps(key)}: {folded(part, width, indent + 1)}"
            for key, part in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{outer}}}"
    parts = [f"{inner}{folded(part, width, indent + 1)}" for part in value]
    return "[\n" + ",\n".join(parts) + f"\n{outer}]"


def order(
    ranking: Sequence[Entry], by: str, significant: Set[tuple[str, str]], unknown: str, digits: int
) -> str:
    """The highest and the lowest of ``ranking``; ``unknown`` says why there is no order.

    ``significant`` has (better, worse) of every significant difference.
    """
    group = [entry for entry in ranking if entry[by] is not None]
    if not group:
        return "no attack had a correct prediction to break"
    what = NAMES[by]
    best, worst = robustness_ranking_and_verdicts.ends(group, by)

    def rate(entries: Sequence[Entry]) -> str:
        """Of all ``entries``, with its interval if they share that, too."""
        rates = [with_interval(entry, by, f".{digits}%") for entry in entries]
        alone = figure_text(entries[0], by, f".{digits}%")
        return rates[0] if len({*rates}) == 1 else alone

    most = rate(best)
    if len(group) == 1:
        return f"{models_of(best)}: {what} {most}"
    if not worst:
        return f"{all_of(len(group), 'model')} have the same {what}, {most}"
    least = rate(worst)
    span = (
        f"{models_of(best)} {'has' if len(best) == 1 else 'have'} the highest {what}, {most}; "
        f"{models_of(worst)} the lowest, {least}"
    )
    others = [entry for entry in group if entry not in best]
    close = [e for e in others if any((b["model"], e["model"]) not in significant for b in best)]
    subject = "the difference is" if len(others) == 1 else "the lead over each other model is"
    verdict = f"{subject} significant"
    if unknown or not significant:
        verdict = unknown or "no difference is significant"
    elif close:
        verdict = f"the highest is not significantly above {models_of(close)}"
    return f"{span}; {verdict}"
