"""What would help: the current image under each remedy, with the models' predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st

from robustness import models
from robustness.base.errors import PluginError, RobustnessError
from robustness.base.text import plain, share
from robustness.measure.labels import is_correct, label_index
from robustness.measure.measurement import Measurement
from robustness.perturbations import Images
from robustness.plugins import plugin_of
from robustness.remedies import REGISTRY, Chain, parse, python
from robustness.remedies.chain import SUREST
from robustness.report.blocks import Titled
from robustness.report.image import REMEDY
from robustness.report.tables import Mark, Table, judged, verdict
from robustness.ui import components, shared
from robustness.ui.draw import thumbnail_uri
from robustness.ui.live.request import Answer, LiveRequest
from robustness.ui.session import sentence

_OPEN = "helping"
_LINES = 2
"""Most models whose predictions a thumbnail has one by one."""


class RemedyLine(NamedTuple):
    """The prediction of a model behind a remedy; without one, ``text`` says why."""

    label: str
    row: shared.Remedied | None
    mark: Mark | None
    text: str


class RemedyEffect(NamedTuple):
    """What a remedy changes: its label, and a line per model, or one of all together."""

    label: str = ""
    lines: Sequence[RemedyLine] = ()

    @property
    def marks(self) -> list[Mark]:
        """The verdicts on its predictions."""
        return [line.mark for line in self.lines if line.mark is not None]

    @property
    def rank(self) -> tuple[float, float]:
        """The share of good predictions, then their confidence: the best is first."""
        good = [
            line.row.probability for line in self.lines if line.row and line.mark and line.mark.good
        ]
        return -len(good) / max(1, len(self.marks)), -sum(good)


def chosen(several: bool, *, warn: bool = False) -> str:
    """The id of the remedy in the link; "" if there is none that one image can show.

    ``several``: the models can predict together. With ``warn`` a warning says what is wrong with
    the link.
    """
    text = st.query_params.get(REMEDY, "")
    try:
        chain = parse(text) if text else None
        if chain is not None and chain.several_models and not several:
            raise RobustnessError(
                f"{chain.label} needs two models with images of one size. Choose other models."
            )
    except RobustnessError as error:
        if warn:
            st.warning(plain(sentence(error)), icon=":material/link_off:")
        return ""
    return chain.id if chain else ""


def image(
    request: LiveRequest, chain: Chain, altered: shared.Altered, who: str | None = None
) -> Images:
    """The image (S, S, 3) after ``chain``: the view that decided, else that before the views.

    Where models choose different views, it is that of the first.
    """
    if chain.last.combine == SUREST:
        ((_, row),) = shared.remedied(
            request.spec, request.picture, request.models[:1], altered, chain, who
        ).items()
        if isinstance(row, shared.Remedied) and row.view is not None:
            return chain.views(altered.image[None])[row.view][0]
    return chain.images(altered.image[None])[0]


def _effect(
    request: LiveRequest,
    chain: Chain,
    altered: shared.Altered,
    answers: Mapping[str, Answer],
    who: str | None = None,
) -> RemedyEffect:
    """Predict ``altered`` after ``chain``; ``answers`` are the predictions without it."""
    rows = {name: row for name, row in answers.items() if isinstance(row, Measurement)}
    names = [name for name in request.models if name in rows]  # not in the order of arrival
    after = shared.remedied(request.spec, request.picture, names, altered, chain, who)
    lines = []
    for name in filter(after.__contains__, names):
        title = "All models" if chain.several_models else models.label(name)
        row = after[name]
        label = label_index(name, request.truth)
        if isinstance(row, shared.Remedied):
            mark = judged(row.top1 == rows[name].clean_top1, is_correct(label, row.top1))
            lines.append(RemedyLine(title, row, mark, models.class_name(name, row.top1)))
        elif isinstance(row, PluginError):
            lines.append(RemedyLine(title, None, None, str(row)))
    return RemedyEffect(chain.label, lines)


def remedy_effect(
    request: LiveRequest,
    altered: shared.Altered,
    answers: Mapping[str, Answer],
    who: str | None = None,
) -> RemedyEffect:
    """The predictions with the remedy of ``request``, for ``answer_cards``."""
    if not request.remedy:
        return RemedyEffect()
    return _effect(request, parse(request.remedy), altered, answers, who)


def table(effect: RemedyEffect) -> Titled | None:
    """The predictions with the remedy, for a report; None without one."""
    if not effect.label:
        return None
    lines = [
        (line.label, line.text, share(line.row.probability), line.mark.said)
        for line in effect.lines
        if line.row is not None and line.mark is not None
    ]
    head = ("Model", "Class", "Confidence", "Prediction")
    return Titled(f"Predictions with {effect.label}", Table(head, lines))


def show(request: LiveRequest, altered: shared.Altered, answers: Mapping[str, Answer]) -> None:
    """Draw the remedies once the visitor asks for them, those that help first."""
    if request.condition.idle or not answers:
        return
    now = request.remedy
    with st.container(key="live-helping"):
        st.subheader("What would help?", anchor=False)
        if not st.toggle("Try every remedy on this image", value=bool(now), key=_OPEN):
            return
        with st.spinner("Trying the remedies …"):
            every = [parse(record.name) for record in REGISTRY if record.range is None]
            effects = {
                chain: _effect(request, chain, altered, answers)
                for chain in every
                if request.several_models or not chain.several_models
            }
        chains = sorted(effects, key=lambda chain: effects[chain].rank)
        verdicts = [verdict(row) for row in answers.values() if isinstance(row, Measurement)]
        if len(verdicts) > _LINES:
            st.caption(f"Without a remedy, {_good(verdicts, request.truth)}.")
        components.remedies(
            "remedies",
            [_card(request, altered, chain, effects[chain], verdicts) for chain in chains],
            now,
            lambda: _choose({chain.id for chain in chains}),
        )
        chain = parse(now) if now else None
        is_plugin = chain and any(plugin_of(REGISTRY, record.name) for record in chain.remedies)
        if chain and chain.on_image and not is_plugin:
            with st.popover("This remedy in Python", icon=":material/content_copy:"):
                st.code(python(chain), language="python", wrap_lines=True)
        st.caption(
            "Remedies act on the perturbed image or on the prediction, without training. One image "
            "is an anecdote: measure a remedy on a dataset before you rely on it."
        )


def _choose(ids: set[str]) -> None:
    """Put the remedy that was clicked into the link; a second click takes it out."""
    report = components.sent("remedies", "chosen") or {}
    chosen_id = report.get("remedy")
    if chosen_id in ids and chosen_id != st.query_params.get(REMEDY):
        st.query_params[REMEDY] = chosen_id
    elif chosen_id in ids:
        del st.query_params[REMEDY]
    st.session_state["helping chosen"] = True


def rerun_if_chosen() -> None:
    """Draw the whole page anew after a choice: the images are in another fragment."""
    if st.session_state.pop("helping chosen", False):
        st.rerun()


def _card(
    request: LiveRequest,
    altered: shared.Altered,
    chain: Chain,
    effect: RemedyEffect,
    before: Sequence[Mark],
) -> dict[str, Any]:
    lines = [
        {
            "tone": line.mark.tone,
            "text": f"{line.mark.sign} {line.text} {share(line.row.probability, 0)}",
            "model": line.label,
        }
        for line in effect.lines
        if line.row and line.mark
    ]
    if len(lines) > _LINES:
        gain = sum(mark.good for mark in effect.marks) - sum(mark.good for mark in before)
        text = _good(effect.marks, request.truth) + (f" ({gain:+d})" if gain else "")
        tone = judged(True, gain > 0).tone if gain else ""
        lines = [{"tone": tone, "text": text, "model": ""}]
    try:
        after = image(request, chain, altered)
    except PluginError as error:
        after = altered.image
        lines = [{"tone": "incorrect", "text": str(error), "model": ""}]
    return {"id": chain.id, "label": chain.label, "lines": lines, "image": thumbnail_uri(after)}


def _good(marks: Sequence[Mark], truth: str | None) -> str:
    good = sum(mark.good for mark in marks)
    return f"{good} of {len(marks)} {'correct' if truth else 'unchanged'}"


def pair(
    request: LiveRequest, altered: shared.Altered, who: str | None = None
) -> tuple[dict[str, Any], list[Images]]:
    """The texts and the image that stand beside the pair; nothing without a remedy."""
    if not request.remedy:
        return {}, []
    chain = parse(request.remedy)
    texts = {
        "remedied": f"Remedied: {chain.label}",
        "altRemedied": f"The perturbed image after {chain.label}",
    }
    try:
        return texts, [image(request, chain, altered, who)]
    except PluginError:  # the verdicts have its sentence
        return {}, []
