"""Text for people: escaping, suggestions for misspelt names, plurals and lists."""

from __future__ import annotations

import difflib
import re
import unicodedata
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$^=&])")
_AUTOLINK = re.compile(
    r"(?<=:)(?=//|material[/_]|streamlit:)|(?<=www)(?=\.)|(?<=@)|(?<!\S.)(?<=[<>~-])(?=[-=>])",
    re.IGNORECASE,
)
"""Where Streamlit makes a link, an icon or an arrow of a text, which no escape prevents."""

_JOINER = "\u2060"

_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that are invisible or change the text direction."""


def plain(text: str) -> str:
    """``text`` escaped for Markdown, on one line; nothing in it becomes a link or markup.

    A character without width parts what Streamlit would find in the text, however it is escaped.
    """
    return _MARKDOWN.sub(r"\\\1", _AUTOLINK.sub(_JOINER, visible(text)))


def visible(text: str) -> str:
    """``text`` on one line, with invisible characters as their number, such as U+202E.

    Different names stay different, and none can reverse the text around it.
    """
    return unhidden(" ".join(text.split()))


def unhidden(text: str) -> str:
    """The same as ``visible``, but keeps white space."""
    if text.isascii() and text.isprintable():
        return text
    signs = []
    for sign in text:
        if unicodedata.category(sign) in _HIDDEN and not sign.isspace():
            signs.append(f"U+{ord(sign):04X}")
        else:
            signs.append(sign)
    return "".join(signs)


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_RISKY = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]|'.*\\", re.DOTALL)
"""What a spreadsheet takes for a formula, and what ``from_csv_cell`` would take for a cell of ours:
https://owasp.org/www-community/attacks/CSV_Injection"""


def csv_cell(text: str) -> str:
    """``text`` as a cell that no spreadsheet runs and no terminal obeys.

    A cell that needs it begins with an apostrophe, its control characters and backslashes escaped.
    ``from_csv_cell`` returns the text.
    """
    # Nearly all texts are printable, which is known at once.
    has_controls = not text.isprintable() and any(_is_control(sign) for sign in text)
    is_formula = _RISKY.match(text) and not _NUMBER.fullmatch(text)
    if not has_controls and not is_formula:
        return text
    signs = ["'"]
    for sign in text:
        if sign == "\\" or _is_control(sign):
            signs.append(ascii(sign)[1:-1])  # without the quotes
        else:
            signs.append(sign)
    return "".join(signs)


def from_csv_cell(cell: str) -> str:
    """The text of which ``csv_cell`` made ``cell``; another cell as it is."""
    if not cell.startswith("'"):
        return cell
    text = _ESCAPED.sub(lambda match: literal_eval(f'"{match[0]}"'), cell[1:])
    return text if csv_cell(text) == cell else cell


_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def _is_control(sign: str) -> bool:
    return sign not in "\t\r\n" and unicodedata.category(sign) in _HIDDEN


def nearest(
    word: str,
    choices: Iterable[str],
    *,
    most: int = 1,
    cutoff: float = 0.6,
    key: Callable[[str], str] = str.lower,
) -> list[str]:
    """Up to ``most`` of ``choices`` that are similar to ``word``, the nearest first.

    Compares by ``key``; similar means a ratio of at least ``cutoff`` (0 to 1).
    """
    by_key = {key(name): name for name in choices}
    close = difflib.get_close_matches(key(word), by_key, n=most, cutoff=cutoff)
    return [by_key[match] for match in close]


def folded(name: str) -> str:
    """``name`` without what makes no difference: case, and blanks against ``_`` and ``-``.

    A ``-`` ahead of everything is a sign, as in -1 for no class.
    """
    return " ".join(re.sub(r"_|(?<!^)-", " ", name.strip().lower()).split())


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint for an unknown ``word``: the nearest of ``choices``, then all of them."""
    names = tuple(choices)
    known = f"Known: {', '.join(names) or 'none'}"
    similar = nearest(word, names)
    if similar:
        return f"Did you mean {similar[0]!r}? {known}"
    return known


def counted(number: int | str, thing: str) -> str:
    """``number``, or its text, and ``thing``, plural unless it is "1"."""
    text = number if isinstance(number, str) else f"{number:,}"
    if text == "1":
        return f"{text} {thing}"
    ending = "es" if thing.endswith("s") else "s"
    return f"{text} {thing}{ending}"


def all_of(total: int, thing: str) -> str:
    """All of ``total`` things: "the model", "both models", "all 3 models"."""
    if total == 1:
        return f"the {thing}"
    things = counted(total, thing)
    if total == 2:
        return f"both {things.removeprefix('2 ')}"
    return f"all {things}"


def are(count: int, total: int, thing: str) -> str:
    """``count`` of ``total`` things and the verb: "both models are", "1 of 3 models is"."""
    if total == 1:
        return f"the {thing} is" if count else f"the {thing} is not"
    if count == total:
        return f"{all_of(total, thing)} are"
    verb = "is" if count == 1 else "are"
    return f"{count:,} of {counted(total, thing)} {verb}"


def format_figure(value: float, form: str) -> str:
    """``format(value, form)``, but halves are rounded away from zero: 0.525 in ".0%" is "53%".

    Percentages and differences in points are written by this; charts in a browser round so, too.
    """
    with localcontext() as context:
        context.rounding = ROUND_HALF_UP  # of Decimal: away from zero
        # Twelve digits: a mean of shares may miss its half by the rounding of floats.
        return format(Decimal(f"{value:.12g}"), form)


def share(value: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage, "52.5%"."""
    return format_figure(value, f".{digits}%")


def points(difference: float, form: str = "+.1f") -> str:
    """A difference of shares in percentage points, "+3.1"; one that rounds to 0 has no sign."""
    text = format_figure(100 * difference, form)
    if float(text) == 0:
        return text.lstrip("+-")
    return text


def milliseconds(value: float) -> str:
    """``value`` in whole milliseconds, below 10 with a digit more."""
    if value >= 9.95:  # which rounds to 10
        return f"{value:.0f}"
    return f"{value:.1f}"


def figure_text(entry: Mapping[str, Any], name: str, form: str | Callable[[float], str]) -> str:
    """The figure ``name`` of ``entry`` by ``form``; "" if it is unknown."""
    value = entry.get(name)
    if value is None:
        return ""
    if isinstance(form, str):
        return format_figure(value, form)
    return form(value)


_NAMED_AFTER = ("Gaussian",)


def in_sentence(label: str) -> str:
    """``label`` within a sentence: in small letters, but for names.

    Such as "fog effect", "Gaussian blur", "JPEG compression".
    """
    first_word = label.partition(" ")[0]
    is_abbreviation = first_word[1:] != first_word[1:].lower()
    if first_word in _NAMED_AFTER or is_abbreviation:
        return label
    return label[:1].lower() + label[1:]


def in_bytes(size: float) -> str:
    """``size`` bytes, such as "5.0 MB", "553 MB" or "4.2 GB" (1 MB = 10**6 bytes)."""
    if size < 1e5:
        return f"{size / 1e3:.0f} kB"
    if size < 10e6:
        return f"{size / 1e6:.1f} MB"
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:,.1f} GB"


def join_names(names: Sequence[str], most: int = 3) -> str:
    """``names`` with commas and "and"; beyond ``most`` they are counted. "" for none."""
    listed = list(names[:most])
    if len(names) > most:
        listed.append(f"{len(names) - most} more")
    if len(listed) < 2:
        return "".join(listed)
    return f"{', '.join(listed[:-1])} and {listed[-1]}"


def some(names: Sequence[str], most: int) -> str:
    """The first ``most`` of ``names``, comma-separated, and the number of further ones."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f" and {len(names) - most} more"
    return text
