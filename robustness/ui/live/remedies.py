"""What would help: the current image under each remedy, with the models' predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
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

_TOGGLE = "helping"

_CLICKED = "helping chosen"
"""Session key: whether a card was clicked since the page was drawn."""

_MOST_LINES = 2
"""Most models whose predictions a card has one by one."""


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
        """A key that sorts by the share of good predictions, then by their confidence."""
        marks = self.marks
        good_probabilities = [
            line.row.probability
            for line in self.lines
            if line.row is not None and line.mark is not None and line.mark.good
        ]
        good_share = len(good_probabilities) / max(1, len(marks))
        return -good_share, -sum(good_probabilities)


def chosen(several_models: bool, *, warn: bool = False) -> str:
    """The id of the remedy in the link; "" if there is none that the page can show.

    ``several_models`` says whether the models can predict the image together. With ``warn`` a
    warning says what is wrong with the link.
    """
    text = st.query_params.get(REMEDY, "")
    if not text:
        return ""
    try:
        chain = parse(text)
        if chain.several_models and not several_models:
            raise RobustnessError(
                f"{chain.label} needs two models with images of one size. Choose other models."
            )
    except RobustnessError as error:
        if warn:
            st.warning(plain(sentence(error)), icon=":material/link_off:")
        return ""
    return chain.id


def image(
    request: LiveRequest, chain: Chain, altered: shared.Altered, who: str | None = None
) -> Images:
    """The image (S, S, 3) after ``chain``: the view that decided, else that before the views.

    Where models choose different views, it is that of the first.
    """
    images = altered.image[None]
    if chain.last.combine == SUREST:
        first_model = request.models[:1]
        predictions = shared.remedied(
            request.spec, request.picture, first_model, altered, chain, who
        )
        (prediction,) = predictions.values()
        if isinstance(prediction, shared.Remedied) and prediction.view is not None:
            return chain.views(images)[prediction.view][0]
    return chain.images(images)[0]


def _effect(
    request: LiveRequest,
    chain: Chain,
    altered: shared.Altered,
    answers: Mapping[str, Answer],
    who: str | None = None,
) -> RemedyEffect:
    """Predict ``altered`` after ``chain``; ``answers`` are the predictions without it."""
    # In the order of the models: the answers are in the order of their arrival.
    rows = {}
    for name in request.models:
        row = answers.get(name)
        if isinstance(row, Measurement):
            rows[name] = row
    predictions = shared.remedied(request.spec, request.picture, list(rows), altered, chain, who)
    lines = []
    for name, prediction in predictions.items():
        title = "All models" if chain.several_models else models.label(name)
        if isinstance(prediction, shared.Remedied):
            is_consistent = prediction.top1 == rows[name].clean_top1
            correct = is_correct(label_index(name, request.truth), prediction.top1)
            mark = judged(is_consistent, correct)
            class_name = models.class_name(name, prediction.top1)
            lines.append(RemedyLine(title, prediction, mark, class_name))
        elif isinstance(prediction, PluginError):
            lines.append(RemedyLine(title, None, None, str(prediction)))
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
    rows = []
    for line in effect.lines:
        if line.row is not None and line.mark is not None:
            rows.append((line.label, line.text, share(line.row.probability), line.mark.said))
    head = ("Model", "Class", "Confidence", "Prediction")
    return Titled(f"Predictions with {effect.label}", Table(head, rows))


def show(request: LiveRequest, altered: shared.Altered, answers: Mapping[str, Answer]) -> None:
    """Draw the remedies once the visitor asks for them, those that help first."""
    if request.condition.idle or not answers:
        return
    with st.container(key="live-helping"):
        st.subheader("What would help?", anchor=False)
        is_open = st.toggle(
            "Try every remedy on this image", value=bool(request.remedy), key=_TOGGLE
        )
        if not is_open:
            return
        with st.spinner("Trying the remedies …"):
            effects = _effects(request, altered, answers)
        marks = [verdict(row) for row in answers.values() if isinstance(row, Measurement)]
        if len(marks) > _MOST_LINES:
            st.caption(f"Without a remedy, {_good_text(marks, request.truth)}.")
        chains = sorted(effects, key=lambda chain: effects[chain].rank)
        components.remedies(
            "remedies",
            [_card(request, altered, chain, effects[chain], marks) for chain in chains],
            request.remedy,
            partial(_choose, {chain.id for chain in chains}),
        )
        if request.remedy:
            _show_code(parse(request.remedy))
        st.caption(
            "Remedies act on the perturbed image or on the prediction, without training. One image "
            "is an anecdote: measure a remedy on a dataset before you rely on it."
        )


def _effects(
    request: LiveRequest, altered: shared.Altered, answers: Mapping[str, Answer]
) -> dict[Chain, RemedyEffect]:
    """The effect of every remedy that the models allow, in the order of the registry."""
    effects = {}
    for record in REGISTRY:
        if record.range is not None:  # it needs a value, as in temperature=1.7
            continue
        chain = parse(record.name)
        if request.several_models or not chain.several_models:
            effects[chain] = _effect(request, chain, altered, answers)
    return effects


def _show_code(chain: Chain) -> None:
    """Draw the Python code of ``chain``, if it acts on the image and is none of a plugin."""
    is_plugin = any(plugin_of(REGISTRY, record.name) for record in chain.remedies)
    if chain.on_image and not is_plugin:
        with st.popover("This remedy in Python", icon=":material/content_copy:"):
            st.code(python(chain), language="python", wrap_lines=True)


def _choose(ids: set[str]) -> None:
    """Put the remedy that was clicked into the link; a second click takes it out."""
    report = components.sent("remedies", "chosen") or {}
    clicked_id = report.get("remedy")
    if clicked_id in ids:
        if clicked_id == st.query_params.get(REMEDY):
            del st.query_params[REMEDY]
        else:
            st.query_params[REMEDY] = clicked_id
    st.session_state[_CLICKED] = True


def rerun_if_chosen() -> None:
    """Draw the whole page anew after a choice: the images are in another fragment."""
    if st.session_state.pop(_CLICKED, False):
        st.rerun()


def _card(
    request: LiveRequest,
    altered: shared.Altered,
    chain: Chain,
    effect: RemedyEffect,
    marks_without: Sequence[Mark],
) -> dict[str, Any]:
    """The data of a card for the browser; ``marks_without`` are the verdicts without a remedy."""
    lines = []
    for line in effect.lines:
        if line.row is not None and line.mark is not None:
            text = f"{line.mark.sign} {line.text} {share(line.row.probability, 0)}"
            lines.append({"tone": line.mark.tone, "text": text, "model": line.label})
    if len(lines) > _MOST_LINES:
        lines = [_summary(effect.marks, marks_without, request.truth)]
    try:
        remedied_image = image(request, chain, altered)
    except PluginError as error:
        remedied_image = altered.image
        lines = [{"tone": "incorrect", "text": str(error), "model": ""}]
    return {
        "id": chain.id,
        "label": chain.label,
        "lines": lines,
        "image": thumbnail_uri(remedied_image),
    }


def _summary(
    marks: Sequence[Mark], marks_without: Sequence[Mark], truth: str | None
) -> dict[str, str]:
    """The line of a card for many models: how many are good, and how many more than before."""
    text = _good_text(marks, truth)
    gain = _good_count(marks) - _good_count(marks_without)
    if gain == 0:
        return {"tone": "", "text": text, "model": ""}
    tone = judged(True, correct=gain > 0).tone
    return {"tone": tone, "text": f"{text} ({gain:+d})", "model": ""}


def _good_count(marks: Sequence[Mark]) -> int:
    return sum(mark.good for mark in marks)


def _good_text(marks: Sequence[Mark], truth: str | None) -> str:
    word = "correct" if truth else "unchanged"
    return f"{_good_count(marks)} of {len(marks)} {word}"


def pair(
    request: LiveRequest, altered: shared.Altered, who: str | None = None
) -> tuple[dict[str, Any], list[Images]]:
    """The texts and the image of the remedy, to draw beside the pair of images.

    Both are empty without a remedy, and if a plugin's remedy fails.
    """
    if not request.remedy:
        return {}, []
    chain = parse(request.remedy)
    try:
        remedied_image = image(request, chain, altered, who)
    except PluginError:  # the verdicts have its sentence
        return {}, []
    texts = {
        "remedied": f"Remedied: {chain.label}",
        "altRemedied": f"The perturbed image after {chain.label}",
    }
    return texts, [remedied_image]
