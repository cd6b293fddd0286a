"""What labels add to the results of a run: accuracy, calibration, corruption errors, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness import statistics as figures
from robustness.base.text import plain, visible
from robustness.charts import dataset, label_tables, tables
from robustness.ui.session.inputs import listed
from robustness.ui.shown import results

Entry = Mapping[str, Any]

_PERCENTAGES = ("Clean accuracy", "Perturbed accuracy", "Accuracy lost", "Consistency")


def accuracy(summary: Sequence[Entry], bins: Sequence[Entry]) -> None:
    """What the labels say: accuracy, what was lost, and whether confidence can be trusted."""
    labelled = [entry for entry in summary if entry["clean_accuracy"] is not None]
    if not labelled:
        return
    st.header("Right or wrong", anchor=False)
    st.html(results.html_table(*label_tables.accuracy(labelled)))
    st.html(results.html_table(*label_tables.calibration(labelled)))
    left, right = st.columns([3, 2], gap="medium")
    names = [entry["model"] for entry in labelled]
    with right:
        chosen = names[0]
        if len(names) > 1:
            texts = {name: models.label(name) for name in names}
            chosen = listed("Reliability of", texts, "reliability_of")
        st.caption(
            "Below the diagonal a model claims more than it knows, above it less. "
            + label_tables.CALIBRATION_NOTE
        )
    results.chart(
        left,
        dataset.reliability_diagram([e for e in bins if e["model"] == chosen]),
        "reliability",
        f"Share of right answers of {models.label(chosen)} over its confidence, clean "
        "and perturbed; below the diagonal it claims more than it knows.",
    )


def corruption_errors(entries: Sequence[Entry]) -> None:
    """CE and relative CE per corruption, and the published figures beside them."""
    if not entries:
        return
    st.header("Against AlexNet, as ImageNet-C does it", anchor=False)
    left, right = st.columns([3, 2], gap="medium")
    for note, alike in dataset.grouped(entries, "note").items():
        left.warning(f"{note}.", icon=":material/balance:")
        left.html(results.html_table(*label_tables.corruption_errors(alike)))
    left.caption(
        "100 is AlexNet's error, lower is better; in brackets the 95 % interval. Relative: what "
        "the corruption adds to the clean error."
    )
    run = [entry["model"] for entry in entries]
    shown = figures.published(list(dict.fromkeys([*run, *models.REGISTRY.names])))
    right.html(
        results.html_table(
            ("Published, on JPEG files", "mCE", "relative mCE"),
            [
                (
                    models.label(row["model"]),
                    f"{row['mce']:.1f}",
                    "" if row["relative_mce"] is None else f"{row['relative_mce']:.1f}",
                )
                for row in shown
            ],
        )
    )
    for source in dict.fromkeys(row["source"] for row in shown[1:]):
        right.caption(plain(f"Source: {source}."))


def under_attack(entries: Sequence[Entry], pairs: Sequence[Entry]) -> None:
    """What no attack of the run broke; ``pairs`` are by robust accuracy."""
    if not entries:
        return
    st.header("Under attack", anchor=False)
    st.html(results.html_table(*label_tables.robust_accuracy(entries)))
    st.caption(label_tables.ROBUST_NOTE)
    if pairs:
        st.subheader("Differences in robust accuracy, in points", anchor=False)
        st.html(results.html_table(*tables.pairs(pairs)))


def classes(entries: Sequence[Entry]) -> None:
    """The classes that lose most, and a table of all of them."""
    if not entries:
        return
    st.header("Class by class", anchor=False)
    known = dataset.comparable_classes(entries)
    st.caption(dataset.CLASS_NOTE if known else dataset.TOO_FEW_OF_A_CLASS)
    for labels, names in models.by_labels(dataset.grouped(known, "model")):
        mine = [entry for entry in known if entry["model"] in names]
        results.chart(
            st,
            dataset.class_drops(mine),
            f"classes_{labels.key}",
            "The classes that lose most accuracy, per model; the table of all holds the rest.",
        )
    with st.expander("All classes, however few their images"):
        _every_class(entries)


def _every_class(entries: Sequence[Entry]) -> None:
    st.dataframe(
        pd.DataFrame(
            {
                "Class": visible(str(entry["class_name"])),
                "Model": models.label(entry["model"]),
                "Images": entry["n_images"],
                "Clean accuracy": entry["clean_accuracy"],
                "Perturbed accuracy": entry["perturbed_accuracy"],
                "Accuracy lost": entry["drop"],
                "95 % interval": tables.interval(entry, "drop"),
                "Consistency": entry["consistency"],
            }
            for entry in entries
        ).sort_values("Accuracy lost", ascending=False, kind="stable"),
        hide_index=True,
        column_config=dict.fromkeys(_PERCENTAGES, st.column_config.NumberColumn(format="percent")),
    )
