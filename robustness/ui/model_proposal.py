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
from robustness.ui.shown import results

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
_SHOWN_TRIALS = 4


def with_classes(found: Proposal, lines: Sequence[str] | None) -> Proposal:
    """``found`` with the classes ``lines``, if any, to be written beside its description."""
    if not lines:
        return found
    return renamed(replace(found, label_names=tuple(lines)), found.name)


def renamed(found: Proposal, name: str) -> Proposal:
    """``found`` called ``name``."""
    labels = {"labels": label_file(name)} if found.label_names else {}
    return replace(found, name=name, values={**found.values, **labels})


def show(found: Proposal) -> None:
    """Draw what was found: values with their sources, trials, and predictions for the samples."""
    st.subheader(f"{found.name}: {found.kind}", anchor=False)
    rows = [
        (_NAMES[key], _text(found, key), found.sources.get(key, "given"))
        for key in _NAMES
        if key in found.values
    ]
    st.html(results.html_table(("Value", "Found", "Source"), rows))
    if found.trials:
        st.markdown(
            f"Normalisations tried on {counted(found.tried_on, 'labelled image')}, best first:"
        )
        st.html(results.html_table(("Normalisation", "Correct", "Confidence"), _trials(found)))
    if better := trial.clearly_better(
        found.trials, found.values.get("normalisation"), found.tried_on
    ):
        st.warning(
            plain(f"{better.name} is clearly better than the chosen normalisation."),
            icon=":material/warning:",
        )
    if found.warning:
        st.warning(plain(found.warning), icon=":material/warning:")
    if cost := trial.cropping_cost(found.framings, found.tried_on):
        st.markdown(cost)
    if found.samples:
        st.markdown("Predictions for the bundled images:")
        samples = [
            (answer["image"], answer["class"], f"{answer['confidence']:.1%}")
            for answer in found.samples
        ]
        st.html(results.html_table(("Image", "Prediction", "Confidence"), samples))
    if found.native:
        st.caption(
            f"Predictions come from {found.native.runtime}. OpenVINO agrees on "
            f"{found.native.agreement:.1%} of the images; probabilities differ by up to "
            f"{found.native.largest:.2f}."
        )


def _trials(found: Proposal) -> list[tuple[str, str, str]]:
    return [
        (each.name, f"{each.correct} of {found.tried_on}", f"{each.confidence:.1%}")
        for each in found.trials[:_SHOWN_TRIALS]
    ]


def _text(found: Proposal, key: str) -> str:
    if key == "labels" and found.label_names:
        more = "…" if len(found.label_names) > 4 else ""
        names = ", ".join(found.label_names[:4])
        return f"{counted(len(found.label_names), 'class')}: {names}{more}"
    value = found.values[key]
    if isinstance(value, Mapping):
        return (
            f"{value['order']}, 0 to {value['scale']:g}, mean {value['mean']}, std {value['std']}"
        )
    if key == "input_size":
        return size_text(value)
    return "ImageNet" if value == IMAGENET_LABELS else str(value)


def questions(found: Proposal) -> dict[str, Any]:
    """Draw controls for what is missing, and folded ones for the rest; return what was answered."""
    answers: dict[str, Any] = {}
    missing = [key for key in _NAMES if key in found.missing]
    if missing:
        st.markdown("Missing from the file. Choose, then inspect again:")
        for key in missing:
            answers |= _CONTROLS[key](found)
    with st.expander("Change values"):
        for key in _NAMES:
            if key not in missing:
                answers |= _CONTROLS[key](found)
        st.code(found.toml, language="toml")
    now = {"output": _OUTPUTS[0], **found.values}
    return {key: value for key, value in answers.items() if value != now.get(key)}


def _key(found: Proposal, control: str) -> str:
    return f"add {control} {found.name}"  # nothing typed for one model stays for the next


def _labels(found: Proposal) -> dict[str, Any]:
    kinds = [_TYPED, _IMAGENET] if "labels" in found.missing else [_AS_FOUND, _TYPED, _IMAGENET]
    chosen = st.selectbox(_NAMES["labels"], kinds, key=_key(found, "labels"))
    if chosen != _TYPED:
        return {"labels": IMAGENET_LABELS} if chosen == _IMAGENET else {}
    text = st.text_area("Classes, one per line", key=_key(found, "lines"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {LINES: lines} if lines and tuple(lines) != found.label_names else {}


def _input_size(found: Proposal) -> dict[str, Any]:
    size = st.text_input(
        _NAMES["input_size"],
        size_text(found.values.get("input_size", 224)),
        key=_key(found, "size"),
        help="One side of a square, or height x width.",
    )
    return {"input_size": parsed_size(size)}


def _normalisation(found: Proposal) -> dict[str, Any]:
    known: dict[str, Any] = {each.name: each.value for each in found.trials}
    known = known or {name: name for name in NORMALISATIONS}
    known = {_AS_FOUND: None, **known} if "normalisation" in found.values else known
    known = {_TRY: None, **known} if "labels" in found.missing else known
    chosen = st.selectbox(
        _NAMES["normalisation"],
        list(known),
        index=0 if found.trials or None in known.values() else None,
        key=_key(found, "normalisation"),
        help="Pixel values that the network was trained on; the best first if images were tried.",
    )
    value = known[chosen] if chosen else None
    return {} if value is None else {"normalisation": value}


def _fit(found: Proposal) -> dict[str, Any]:
    fit = found.values.get("fit", "")
    choices = FITS if fit else ("", *FITS)
    chosen = st.selectbox(
        _NAMES["fit"],
        choices,
        index=choices.index(fit),
        format_func=lambda choice: choice or f"crop at {Framing().side} px",
        key=_key(found, "fit"),
        help="How images become its input. With a fit it is measured at its own size.",
    )
    return {"fit": chosen} if chosen else {}


def _output(found: Proposal) -> dict[str, Any]:
    index = _OUTPUTS.index(found.values.get("output", _OUTPUTS[0]))
    return {
        "output": st.selectbox(_NAMES["output"], _OUTPUTS, index=index, key=_key(found, "output"))
    }


def _title(found: Proposal) -> dict[str, Any]:
    title = st.text_input(
        _NAMES["title"], found.values.get("title", ""), key=_key(found, "title")
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
