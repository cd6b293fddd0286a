"""The tables of a run over many images as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st


def unreadable(images: Sequence[tuple[str, str]]) -> None:
    """The images that could not be read, with their reasons."""
    if not images:
        return
    count = len(images)
    with st.expander(
        f"{count:,} image{'s' * (count != 1)} could not be read", icon=":material/broken_image:"
    ):
        st.dataframe(pd.DataFrame(images, columns=["Image", "Reason"]), hide_index=True)
