"""Class indices from the labels of images."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.base.errors import LabelError
from robustness.base.text import folded, nearest
from robustness.datasets.dataset_and_image_entry import Dataset, Entry
from robustness.models.class_labels import Labels

FOLDERS, KNOWN, NO_LABELS = "folders", "known", "none"
LABELLINGS = (FOLDERS, KNOWN, NO_LABELS)
"""Where labels come from: a table's column or the names of subfolders; the same, but without those
that name no class; or nowhere."""


def class_index(text: str, labels: Labels) -> int | None:
    """The class that ``text`` means by ``Labels.meant``; None if that is not exactly one."""
    indices = labels.meant(text)
    return indices[0] if len(indices) == 1 else None


def entry_class_indices(
    dataset: Dataset, label_sets: Sequence[Labels], labelling: str = FOLDERS
) -> dict[str, tuple[int | None, ...]]:
    """The class index of every entry, for each of ``label_sets`` by its ``key``.

    The label is the dataset's, else the outermost subfolder. An archive's outer folder that is not
    a class is skipped. A class may exist in some of the label sets only. Raises ``LabelError`` for
    a label without a class, unless ``labelling`` is ``KNOWN``: then such an image has no label.
    """
    texts = [None] * len(dataset) if labelling == NO_LABELS else _texts(dataset, label_sets)
    distinct = dict.fromkeys(text for text in texts if text is not None)
    indices = {
        labels.key: {text: class_index(text, labels) for text in distinct} for labels in label_sets
    }
    strangers = [t for t in distinct if all(by_text[t] is None for by_text in indices.values())]
    if strangers and labelling != KNOWN:
        raise _no_class(strangers, label_sets)
    return {
        key: tuple(None if text is None else by_text[text] for text in texts)
        for key, by_text in indices.items()
    }


def classes_of(dataset: Dataset) -> Labels:
    """The labels themselves as classes, in alphabetical order."""
    names = sorted({text for text in _texts(dataset, ()) if text is not None})
    return Labels(f"the labels of {dataset.title}", tuple(names))


def _texts(dataset: Dataset, label_sets: Sequence[Labels]) -> list[str | None]:
    def folder(entry: Entry, depth: int) -> str | None:
        return entry.folders[depth] if len(entry.folders) > depth else None

    depth = 0
    while dataset.wrapped:
        outer = {folder(entry, depth) for entry in dataset.entries if not entry.refused}
        wrapper = outer.pop() if len(outer) == 1 else None
        if wrapper is None or any(labels.meant(wrapper) for labels in label_sets):
            break
        depth += 1

    def text(entry: Entry) -> str | None:
        if entry.refused:
            return None
        return folder(entry, depth) if entry.label is None else entry.label

    return [text(entry) for entry in dataset.entries]


def _no_class(strangers: Sequence[str], label_sets: Sequence[Labels]) -> LabelError:
    examples = ", ".join(repr(text) for text in strangers[:3])
    more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
    titles = " or ".join(dict.fromkeys(labels.title for labels in label_sets))
    names = [name for labels in label_sets for name in labels.names]
    near = []
    for text in strangers[:3]:
        either = dict.fromkeys(
            labels.names[at] for labels in label_sets for at in labels.meant(text)
        )
        if candidates := " or ".join(map(repr, either or _nearest(text, names))):
            near.append(candidates if len(strangers) == 1 else f"{candidates} for {text!r}")
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    verb = "is not a class" if len(strangers) == 1 else "are not classes"
    return LabelError(
        f"{examples}{more} {verb} of {titles}: expected the index, synset or name of a "
        f"class for each subfolder or label.{hint} Images without classes need no labels.",
        hint="Name models of these classes in --models (for export: the classes in --class-names). "
        "Or use --labels known to evaluate these without a class, or --labels none.",
    )


def _nearest(text: str, names: Sequence[str]) -> list[str]:
    """Names with the last word of ``text``, such as Eskimo dog for "dogs", else similar ones."""
    word = folded(text).rpartition(" ")[2]
    having = [name for name in names if {word, word.removesuffix("s")} & set(folded(name).split())]
    return having[:2] if word and having else nearest(text, names, key=folded)
