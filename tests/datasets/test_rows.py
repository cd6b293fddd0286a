"""Rows as data sets of Python have them; ``tests/test_api.py`` evaluates them."""

from __future__ import annotations

import gc
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness.base.errors import ImageError, LabelError, ParameterError
from robustness.datasets import Dataset, entry_class_indices
from robustness.datasets.rows import open_rows
from robustness.images.framing import Framing
from robustness.images.sandbox import measured_image
from robustness.models.record import Labels, imagenet
from tests.support.data_sets import HubData, TriplesData, VisionData

CLASSES = ("tench", "goldfish", "hammerhead")
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 16, 3), dtype=np.uint8)
LABELS = [index % 3 for index in range(9)]


def rows() -> list[Any]:
    return list(zip(PIXELS, LABELS, strict=True))


def digests(dataset: Dataset) -> list[str]:
    """The digests of the images as a run identifies them."""
    found = []
    for entry in dataset.entries:
        data = dataset.read(entry)
        found.append(measured_image(data, [Framing("squash", 8)], properties=False).framed.source)
    return found


def encoded(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FORMS: dict[str, Callable[[], Any]] = {
    "pairs": rows,
    "records": lambda: [{"image": image, "label": label} for image, label in rows()],
    "records of CIFAR": lambda: [{"img": image, "target": label} for image, label in rows()],
    "bytes": lambda: [{"image": encoded(image), "label": label} for image, label in rows()],
    "bytes in a table": lambda: [
        {"image": {"bytes": encoded(image), "path": None}, "label": label}
        for image, label in rows()
    ],
    "torchvision": lambda: VisionData(rows(), CLASSES),
    "torchvision without targets": lambda: VisionData(rows(), CLASSES, with_targets=False),
    "MAITE": lambda: TriplesData(PIXELS.transpose(0, 3, 1, 2), np.eye(3)[LABELS], CLASSES),
    "Hugging Face": lambda: HubData([encoded(image) for image in PIXELS], LABELS, CLASSES),
    "generator": lambda: (row for row in rows()),
    "generator of records": lambda: ({"image": image, "label": label} for image, label in rows()),
    "stream": lambda: HubData(
        [encoded(image) for image in PIXELS], LABELS, CLASSES
    ).to_iterable_dataset(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_rows_is_the_same_images_with_the_same_classes(form: str) -> None:
    source = FORMS[form]()
    names = () if form in TOLD else CLASSES
    dataset = open_rows(source, names)
    expected = open_rows((PIXELS, LABELS), CLASSES)
    assert list(dataset.label_texts()) == list(expected.label_texts())
    assert digests(dataset) == digests(expected)
    assert open_rows(FORMS[form](), names).digest == dataset.digest
    if form != "stream":  # whose images are in a folder of this process
        assert pickle.loads(pickle.dumps(dataset)).digest == dataset.digest


TOLD = {"torchvision", "torchvision without targets", "MAITE", "Hugging Face", "stream"}
"""Forms that tell the names of their classes."""


def test_an_image_is_asked_for_when_it_is_needed() -> None:
    many = [(PIXELS[0], 0)] * 50_000
    told = VisionData(many, CLASSES)
    dataset = open_rows(told, limit=5)
    dataset.select(limit=5)
    assert len(dataset.label_texts()) == 5
    assert dataset.digest
    assert told.asked <= 10, "five labels are compared, five images identify the data set"
    hub = HubData([encoded(PIXELS[0])] * 2000, [0] * 2000, CLASSES)
    dataset = open_rows(hub)
    dataset.select(sample=20)
    assert dataset.digest
    assert (hub.decoded, hub.asked) == (0, 20), "the bytes of those drawn, and none is decoded"


def test_another_image_or_label_makes_another_digest() -> None:
    files = [encoded(image) for image in PIXELS]
    digests_of_all = set()
    for file, label in ((files[3], 0), (files[4], 0), (files[3], 1)):
        changed_files = [*files[:3], file, *files[4:]]
        changed_labels = [*LABELS[:3], label, *LABELS[4:]]
        hub = HubData(changed_files, changed_labels, CLASSES)
        pairs = list(zip(changed_files, changed_labels, strict=True))
        for source in (hub, hub.to_iterable_dataset(), VisionData(pairs, CLASSES)):
            digests_of_all.add(open_rows(source).digest)
    assert len(digests_of_all) == 3, "the same rows have one digest, whatever gives them"


def test_rows_that_come_once_are_kept_until_nobody_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken = []

    def endless() -> Iterator[Any]:
        while True:
            taken.append(0)
            yield PIXELS[len(taken) % 2], "tench"

    dataset = open_rows(endless(), limit=6)
    assert len(dataset) == len(taken) == 6
    assert len(list(tmp_path.glob("*/*"))) == 2, "equal images once"
    assert dataset.read(dataset.entries[0]) == dataset.read(dataset.entries[2])
    del dataset
    gc.collect()
    assert not list(tmp_path.iterdir())


HOSTILE: dict[str, tuple[Any, str]] = {
    "another type": ((object(), 1), "expected an image: an array"),
    "no image": ((None, 1), "got NoneType"),
    "no row": (None, "got NoneType"),
    "a label without a class": ((PIXELS[0], 10**9), "labels from 0 to 2, .* got 1000000000"),
    "a list of labels": ((PIXELS[0], [1, 2]), "got list"),
    "not a number": ((np.full((8, 8, 3), np.nan), 1), "expected values from 0 to 1, got nan"),
    "huge": ((np.broadcast_to(np.uint8(0), (40_000, 40_000, 3)), 1), "at most 65,000,000 pixels"),
    "another key": ({"picture": PIXELS[0], "label": 1}, "expected the key 'image', got 'picture'"),
    "three values": ((PIXELS[0], 1, 2), r"expected \(image, label\), got 3 values"),
    "an error": (ValueError("the disk\nis gone"), r"cannot be read \(ValueError: the disk\)"),
    "no file": (({"bytes": None, "path": "/no/such.jpg"}, 1), "does not exist"),
    "no highest score": ((PIXELS[0].transpose(2, 0, 1), [0, 0], {}), "2 that are equally high"),
    "scores that are none": ((PIXELS[0].transpose(2, 0, 1), [np.nan, 0], {}), "not finite"),
    "channels last": ((PIXELS[0], [0, 1], {}), r"expected an image \(channels, height, width\)"),
}


def read_row_7(source: Any) -> None:
    dataset = open_rows(source, CLASSES)
    dataset.label_texts()
    entry = dataset.entries[7]
    if entry.refused:
        raise ImageError(f"{entry.name}: {entry.refused}")
    dataset.read(entry)


@pytest.mark.parametrize("kind", ["a list", "a data set", "a generator"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_bad_row_is_told_in_one_sentence_with_its_number(case: str, kind: str) -> None:
    value, message = HOSTILE[case]
    items = rows()
    items[7] = value

    def generated() -> Iterator[Any]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    sources = {
        "a list": items,
        "a data set": VisionData(items, CLASSES, with_targets=False),
        "a generator": generated(),
    }
    if kind == "a list" and isinstance(value, Exception):
        return  # which a list does not raise
    with pytest.raises((ParameterError, ImageError), match=message) as caught:
        read_row_7(sources[kind])
    sentence = str(caught.value)
    assert " 7" in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence


def test_labels_are_of_the_classes_that_a_model_calls_so() -> None:
    mine = Labels("mine", ("hammerhead", "tench"))
    dataset = open_rows(VisionData(rows(), CLASSES))
    with pytest.raises(LabelError, match=r"'goldfish' is not a class of mine \(first: row 1\)"):
        entry_class_indices(dataset, [mine])
    dataset.select(limit=1)
    assert entry_class_indices(dataset, [mine])[mine.key] == (1,)
    # All names of a class, as torchvision and Hugging Face have them.
    several = [("tench", "Tinca tinca"), "goldfish, Carassius auratus", "hammerhead"]
    dataset = open_rows(VisionData(rows(), several))
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key][:3] == (0, 1, 4)
    twice = VisionData(rows(), ["crane", "crane", "tench"])
    with pytest.raises(ParameterError, match="got 'crane' for 0 and 1"):
        open_rows(twice)
    # A label that a data set changes on the way is that of the row.
    changed = VisionData(rows(), CLASSES, change=lambda label: 2 - label)
    assert list(open_rows(changed).label_texts())[:3] == ["hammerhead", "goldfish", "tench"]


def test_imagenet_is_known_by_its_names_although_two_classes_share_one() -> None:
    names = [name.replace("crane bird", "crane") for name in imagenet().names]
    names[517] = "crane"
    labelled = [(PIXELS[0], 134), (PIXELS[1], 517), (PIXELS[2], 0)]
    dataset = open_rows(VisionData(labelled, names))
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (134, 517, 0)
    own = Labels("mine", ("tench", "construction crane", "crane bird"))
    assert entry_class_indices(dataset, [own])[own.key] == (2, 1, 0)


def test_a_label_of_minus_one_is_none_in_a_column_of_classes() -> None:
    dataset = open_rows(HubData([encoded(PIXELS[0])] * 2, [-1, 1], CLASSES))
    assert list(dataset.label_texts()) == [None, "goldfish"]


def test_what_is_no_single_data_set_is_refused() -> None:
    data = HubData([encoded(PIXELS[0])], [0], CLASSES)
    with pytest.raises(ParameterError, match=r"'train', 'test': choose one, as in data\['test'\]"):
        open_rows({"train": data, "test": data})
    data.features["other"] = data.features["image"]
    with pytest.raises(ParameterError, match="one column of images, got image, other"):
        open_rows(data)


# --- the libraries themselves, where they are installed -------------------------------------------


def test_hugging_face_datasets_themselves(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    columns = {"image": [Image.fromarray(pixels) for pixels in PIXELS], "label": LABELS}
    data = datasets.Dataset.from_dict(columns, features=features)
    expected = open_rows((PIXELS, LABELS), CLASSES)
    sources = [data, data.with_format("numpy"), data.with_transform(lambda batch: batch)]
    sources.append(data.to_iterable_dataset())
    for source in sources:
        dataset = open_rows(source)
        assert list(dataset.label_texts()) == list(expected.label_texts())
        assert digests(dataset) == digests(expected)


def test_torchvision_itself(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    for number, (pixels, label) in enumerate(rows()):
        folder = tmp_path / CLASSES[label]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    data = torchvision.datasets.ImageFolder(tmp_path)
    dataset = open_rows(data)
    assert list(dataset.label_texts()) == [data.classes[label] for label in data.targets]
    assert set(digests(dataset)) == set(digests(open_rows((PIXELS, LABELS), CLASSES)))


def test_maite_itself() -> None:
    protocols = pytest.importorskip("maite.protocols.image_classification")
    data = TriplesData(PIXELS.transpose(0, 3, 1, 2), np.eye(3)[LABELS], CLASSES)
    assert isinstance(data, protocols.Dataset)
