"""What was found out about a model file, and the questions that it leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from robustness.base.text import counted, plain
from robustness.models.own import trial
from robustness.models.own.package import label_file
from robustness.models.own.proposal import IMAGENET_LABELS, Proposal
from robustness.models.own.user_models import NORMALISATIONS, parsed_size, size_text
from robustness.pictures.fitting import FITS, Framing
from robustness.ui.display import results

LINES = "class lines"
"""Stands for ``labels`` among answers: the classes themselves."""

_NAMES = {
    "labels": "Classes",
    "input_size": "Input size (px)",
    "normalisation": "Normalisation",
    "fit": "Fit",
    "output": "Output",
    "title": "Title",
}
_AS_FOUND, _TRY = "As found", "Try the usual ones"
_IMAGENET, _TYPED = "ImageNet (1,000 classes)", "One per line"
_OUTPUTS = ("probabilities", "logits")
_MAX_TRIALS = 4


def with_classes(proposal: Proposal, lines: Sequence[str] | None) -> Proposal:
    """``proposal`` with the classes ``lines``, if any, to be written beside its description."""
    if not lines:
        return proposal
    return renamed(replace(proposal, label_names=tuple(lines)), proposal.name)


def renamed(proposal: Proposal, name: str) -> Proposal:
    """``proposal`` called ``name``."""
    labels = {"labels": label_file(name)} if proposal.label_names else {}
    return replace(proposal, name=name, values={**proposal.values, **labels})


def show(proposal: Proposal) -> None:
    """Draw what was found: values with their sources, trials, and predictions for the samples."""
    st.subheader(f"{proposal.name}: {proposal.kind}", anchor=False)
    rows = [
        (_NAMES[key], _text(proposal, key), proposal.sources.get(key, "given"))
        for key in _NAMES
        if key in proposal.values
    ]
    st.html(results.html_table(("Value", "Found", "Source"), rows))
    if proposal.trials:
        st.markdown(
            f"Normalisations tried on {counted(proposal.tried_on, 'labelled image')}, best first:"
        )
        st.html(results.html_table(("Normalisation", "Correct", "Confidence"), _trials(proposal)))
    if better := trial.clearly_better(
        proposal.trials, proposal.values.get("normalisation"), proposal.tried_on
    ):
        st.warning(
            plain(f"{better.name} is clearly better than the chosen normalisation."),
            icon=":material/warning:",
        )
    if proposal.warning:
        st.warning(plain(proposal.warning), icon=":material/warning:")
    if cost := trial.cropping_cost(proposal.framings, proposal.tried_on):
        st.markdown(cost)
    if proposal.samples:
        st.markdown("Predictions for the bundled images:")
        samples = [
            (answer["image"], answer["class"], f"{answer['confidence']:.1%}")
            for answer in proposal.samples
        ]
        st.html(results.html_table(("Image", "Prediction", "Confidence"), samples))
    if proposal.native:
        st.caption(
            f"Predictions come from {proposal.native.runtime}. OpenVINO agrees on "
            f"{proposal.native.agreement:.1%} of the images; probabilities differ by up to "
            f"{proposal.native.largest:.2f}."
        )


def _trials(proposal: Proposal) -> list[tuple[str, str, str]]:
    return [
        (
            trial_result.name,
            f"{trial_result.correct} of {proposal.tried_on}",
            f"{trial_result.confidence:.1%}",
        )
        for trial_result in proposal.trials[:_MAX_TRIALS]
    ]


def _text(proposal: Proposal, key: str) -> str:
    if key == "labels" and proposal.label_names:
        more = "…" if len(proposal.label_names) > 4 else ""
        names = ", ".join(proposal.label_names[:4])
        return f"{counted(len(proposal.label_names), 'class')}: {names}{more}"
    value = proposal.values[key]
    if isinstance(value, Mapping):
        return (
            f"{value['order']}, 0 to {value['scale']:g}, mean {value['mean']}, std {value['std']}"
        )
    if key == "input_size":
        return size_text(value)
    return "ImageNet" if value == IMAGENET_LABELS else str(value)


def questions(proposal: Proposal) -> dict[str, Any]:
    """Draw controls for what is missing, and folded ones for the rest; return what was answered."""
    answers: dict[str, Any] = {}
    missing = [key for key in _NAMES if key in proposal.missing]
    if missing:
        st.markdown("Missing from the file. Choose, then inspect again:")
        for key in missing:
            answers |= _CONTROLS[key](proposal)
    with st.expander("Change values"):
        for key in _NAMES:
            if key not in missing:
                answers |= _CONTROLS[key](proposal)
        st.code(proposal.toml, language="toml")
    now = {"output": _OUTPUTS[0], **proposal.values}
    return {key: value for key, value in answers.items() if value != now.get(key)}


def _key(proposal: Proposal, control: str) -> str:
    return f"add {control} {proposal.name}"  # nothing typed for one model stays for the next


def _labels(proposal: Proposal) -> dict[str, Any]:
    kinds = [_TYPED, _IMAGENET] if "labels" in proposal.missing else [_AS_FOUND, _TYPED, _IMAGENET]
    chosen = st.selectbox(_NAMES["labels"], kinds, key=_key(proposal, "labels"))
    if chosen != _TYPED:
        return {"labels": IMAGENET_LABELS} if chosen == _IMAGENET else {}
    text = st.text_area("Classes, one per line", key=_key(proposal, "lines"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {LINES: lines} if lines and tuple(lines) != proposal.label_names else {}


def _input_size(proposal: Proposal) -> dict[str, Any]:
    size = st.text_input(
        _NAMES["input_size"],
        size_text(proposal.values.get("input_size", 224)),
        key=_key(proposal, "size"),
        help="One side of a square, or height x width.",
    )
    return {"input_size": parsed_size(size)}


def _normalisation(proposal: Proposal) -> dict[str, Any]:
    choices: dict[str, Any] = {
        trial_result.name: trial_result.value for trial_result in proposal.trials
    }
    choices = choices or {name: name for name in NORMALISATIONS}
    choices = {_AS_FOUND: None, **choices} if "normalisation" in proposal.values else choices
    choices = {_TRY: None, **choices} if "labels" in proposal.missing else choices
    chosen = st.selectbox(
        _NAMES["normalisation"],
        list(choices),
        index=0 if proposal.trials or None in choices.values() else None,
        key=_key(proposal, "normalisation"),
        help="Pixel values that the network was trained on; the best first if images were tried.",
    )
    value = choices[chosen] if chosen else None
    return {} if value is None else {"normalisation": value}


def _fit(proposal: Proposal) -> dict[str, Any]:
    fit = proposal.values.get("fit", "")
    choices = FITS if fit else ("", *FITS)
    chosen = st.selectbox(
        _NAMES["fit"],
        choices,
        index=choices.index(fit),
        format_func=lambda choice: choice or f"crop at {Framing().side} px",
        key=_key(proposal, "fit"),
        help="How images become its input. With a fit it is measured at its own size.",
    )
    return {"fit": chosen} if chosen else {}


def _output(proposal: Proposal) -> dict[str, Any]:
    index = _OUTPUTS.index(proposal.values.get("output", _OUTPUTS[0]))
    return {
        "output": st.selectbox(
            _NAMES["output"], _OUTPUTS, index=index, key=_key(proposal, "output")
        )
    }


def _title(proposal: Proposal) -> dict[str, Any]:
    title = st.text_input(
        _NAMES["title"], proposal.values.get("title", ""), key=_key(proposal, "title")
    ).strip()
    return {"title": title} if title else {}


_CONTROLS = {
    "labels": _labels,
    "input_size": _input_size,
    "normalisation": _normalisation,
    "fit": _fit,
    "output": _output,
    "title": _title,
}
