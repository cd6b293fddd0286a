"""The sortable table of runs on the Runs page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness.runs import Listed, headlines
from robustness.runs.compare import differences_in_setup
from robustness.statistics.choice import NAMES


def show(entries: Sequence[Listed], pinned: str) -> None:
    """Draw a row for each of ``entries``, the newest first; ``pinned`` is the baseline's id."""
    baseline = next((entry for entry in entries if entry.folder.name == pinned), None)
    others = [baseline] * len(entries) if baseline else [*entries[1:], None]
    rows = [_row(entry, other, pinned) for entry, other in zip(entries, others, strict=True)]
    frame = pd.DataFrame(rows)[[name for name in rows[0] if any(row[name] for row in rows)]]
    points = st.column_config.NumberColumn(format="%.1f%%")
    differs = "From the baseline." if baseline else "From the run before."
    st.dataframe(
        frame,
        hide_index=True,
        key="runs table",
        placeholder="",
        column_config={name.capitalize(): points for name in NAMES.values()}
        | {
            "Run": st.column_config.TextColumn(width="medium"),
            "Differs": st.column_config.TextColumn(help=differs, width="medium"),
            "Made": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        },
    )


def _row(entry: Listed, other: Listed | None, pinned: str) -> dict[str, Any]:
    manifest = entry.manifest
    assert manifest is not None
    kept = headlines.stored(entry.folder, manifest)
    first = kept["models"][0] if kept and kept["models"] else None
    before = other.manifest if other else None
    scores = {name.capitalize(): first and _percent(first[key]) for key, name in NAMES.items()}
    return {
        "Run": entry.title,
        "Made": pd.to_datetime(manifest.created, errors="coerce", utc=True),
        "First model": first and models.label(first["model"]),
        **scores,
        "Images": manifest.images,
        "Models": len(manifest.spec.models),
        "Conditions": len(manifest.spec.conditions),
        "Differs": differences_in_setup(before, manifest) if before else "",
        "Baseline": "pinned" if entry.folder.name == pinned else "",
        "Tags": ", ".join(entry.tags),
        "Note": entry.note,
        "Id": entry.folder.name,
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
