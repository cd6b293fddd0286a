"""What every error on the command line has in common."""

from __future__ import annotations


def check_sentence(text: str) -> None:
    assert text.startswith("robustness: ")
    assert text.endswith(".\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    assert "Error" not in text
    sentence, _, _known = text.partition(" Known: ")  # the list is as long as its registry
    assert 40 < len(sentence) < 400
