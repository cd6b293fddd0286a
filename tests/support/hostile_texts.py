"""Draws texts that want to be links or markup in all that a page puts names into: a test's page."""

from __future__ import annotations

TEXTS = (
    "https://evil.example/login",
    "see HTTP://evil.example now",
    "(https://evil.example)",
    "www.evil.example",
    "WWW.evil.example/a?b=c",
    "mail ada@evil.example",
    "mailto:ada@evil.example",
    "xmpp:ada@evil.example/a",
    "www.www.evil.example@evil.example",
    "http\\://evil.example",
    "<https://evil.example>",
    "[run](https://evil.example)",
    "![run](https://evil.example/a.png)",
    "[run]: https://evil.example",
    "<b>bold</b> <img src=x>",
    "**bold** _italic_ `code` ~~gone~~ $x^2$",
    "# heading",
    "1. one",
    ":material/lock: :Material/lock: :red[red] :smile: :streamlit:",
    "&lt;b&gt; &#58;",
    ":material_lock:",
    "a -> b <- c -- d <-> e >= f <= g ~= h",
    "-> a",
    "\\input{secret} % & ^ {x}",
    '=HYPERLINK("https://evil.example")',
)

if __name__ == "__main__":
    import streamlit as st

    from robustness.base.text import plain

    for number, text in enumerate(TEXTS):
        with st.container(key=f"text-{number}"):
            st.caption(plain(text))
            st.markdown(plain(text))
            st.markdown(f"**{plain(text)}** by {plain(text)}.")
            st.info(plain(text))
            st.button(plain(text), key=f"button {number}")
            st.checkbox(plain(text), key=f"checkbox {number}")
            st.expander(plain(text), expanded=True)
            st.radio(plain(text), [plain(text)], key=f"radio {number}")
