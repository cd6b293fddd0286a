"""Words that pages, reports and commands no longer show."""

from __future__ import annotations

import re
from collections.abc import Iterator

from streamlit.testing.v1 import AppTest

from tests.support.pages import components, html

RETIRED = {
    r"pictures?": "image",
    r"answers?|answered": "prediction",
    r"(keeps?|keeping) (its|their|the|an) (answers?|predictions?)": "prediction unchanged",
    r"clean": "original",
    r"(not |un)?established": "significant",
    r"strangers?": "unrelated image",
    r"departs?": "diverges",
    r"(in )?brackets": "parentheses",
    r"unsure": "low confidence",
    r"come along": "bundled",
    r"got (right|wrong)|gets? (right|wrong)": "correct, incorrect",
}
"""Words that pages, reports and commands no longer show (patterns), and the term for each."""

SHOWN = ("markdown", "caption", "info", "warning", "error", "success", "title", "header")
CONTROLS = ("button", "selectbox", "multiselect", "checkbox", "toggle", "text_input")
MORE = ("number_input", "segmented_control", "file_uploader", "expander", "subheader")
CODE = re.compile(r"<(style|script|pre|code)\b.*?</\1>|<[^>]*>|`[^`]*`", re.DOTALL)
NAMES = re.compile(r"--[\w-]+|\S*[_/=]\S*|\b[A-Z]{2,}\S*")
"""Options, paths and names, which are no prose."""


def retired(text: str) -> dict[str, str]:
    """The retired words in ``text``, each with what stands around it."""
    prose = NAMES.sub(" ", CODE.sub(" ", text))
    return {
        word: prose[max(0, match.start() - 40) : match.end() + 40]
        for word in RETIRED
        if (match := re.search(rf"\b(?:{word})\b", prose, re.IGNORECASE))
    }


def said(app: AppTest) -> Iterator[str]:
    """All texts of a page that a visitor reads or is told when pointing."""
    yield html(app)
    for kind in SHOWN:
        yield from (str(element.value) for element in app.get(kind) if hasattr(element, "value"))
    for kind in (*CONTROLS, *MORE):
        for element in app.get(kind):
            proto = element.proto
            yield from (str(getattr(proto, name, "")) for name in ("label", "help", "placeholder"))
            yield from (str(option) for option in getattr(proto, "options", ()))
    yield from (head["text"] for head, _ in components(app, "pair"))
