"""Datasets: what is listed, what is read, how it is labelled, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import robustness as rb
from benchmarks.support.image_folders import CLASSES, drawing, flat_folder, labelled_folder
from benchmarks.support.process_memory import growing_at_most
from robustness.base.errors import ImageError, LabelError, ParameterError
from robustness.base.files import BoundedZip, TooManyFilesError
from robustness.datasets import (
    Dataset,
    class_index,
    distinct,
    entry_class_indices,
    open_dataset,
    sample_pixels,
)
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing
from robustness.models import Labels, imagenet
from tests.support.large_files import terabyte, within

DIGITS = Labels("digits", ("zero", "one", "two"))


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    drawing(seed, (20, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def names(dataset: Dataset) -> list[str]:
    return [entry.name for entry in dataset.entries]


def put(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png() if data is None else data)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


# --- folders --------------------------------------------------------------------------------------


def test_a_flat_folder_is_listed_in_order_and_without_labels(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "photos", 3)
    dataset = open_dataset(str(folder))
    assert names(dataset) == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert dataset.title == "photos"
    assert dataset.read(dataset.entries[1]) == (folder / "00001.jpg").read_bytes()
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (None,) * 3


def test_sub_folders_are_classes_by_index_synset_or_name(tmp_path: Path) -> None:
    dataset = open_dataset(str(labelled_folder(tmp_path / "set", 1)))
    found = entry_class_indices(dataset, [imagenet()])[imagenet().key]
    by_folder = {e.folders[0]: label for e, label in zip(dataset.entries, found, strict=True)}
    assert by_folder == {"n07920052": 967, "Egyptian cat": 285, "670": 670}
    assert imagenet().names[967] == "espresso"
    assert set(by_folder) == set(CLASSES.values())


def test_only_pictures_count_even_those_that_cannot_be_read(tmp_path: Path) -> None:
    for name in (
        "a.PNG",
        "a\nb 日本.png",
        "b.heic",
        "c.txt",
        ".hidden.png",
        "__MACOSX/d.png",
        ".git/e.png",
    ):
        put(tmp_path / name)
    assert names(open_dataset(str(tmp_path))) == ["a\nb 日本.png", "a.PNG", "b.heic"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are always Unicode")
def test_a_name_that_is_no_unicode_is_read_and_can_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "285").mkdir()
    raw = os.path.join(os.fsencode(tmp_path / "285"), b"bad\xff\xfe.png")
    with open(raw, "wb") as file:
        file.write(png())
    dataset = open_dataset(str(tmp_path))
    assert names(dataset) == [r"285/bad\xff\xfe.png"]
    assert dataset.read(dataset.entries[0]) == png()
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (285,)


def test_links_out_of_the_folder_are_refused_and_those_within_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "secret.png")
    inside = put(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "b.png").symlink_to(inside)
    (tmp_path / "set" / "c.png").symlink_to(outside)
    (tmp_path / "set" / "d").symlink_to(outside.parent)
    dataset = open_dataset(str(tmp_path / "set"))
    refused = {entry.name: entry.refused for entry in dataset.entries}
    assert list(refused) == ["a.png", "b.png", "c.png", "d"]
    assert refused["a.png"] == refused["b.png"] == ""
    assert "lead out" in refused["c.png"]
    assert "not followed" in refused["d"]


def test_a_link_that_changes_after_the_listing_is_still_refused(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside.png")
    path = put(tmp_path / "set" / "a.png")
    dataset = open_dataset(str(tmp_path / "set"))
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(ImageError, match="lead out"):
        dataset.read(dataset.entries[0])


@pytest.mark.parametrize("wrong", ["n99999999", "egyptian catt", "1000"])
def test_a_folder_that_is_no_class_is_named(tmp_path: Path, wrong: str) -> None:
    put(tmp_path / "n07920052" / "a.png")
    put(tmp_path / wrong / "a.png")
    dataset = open_dataset(str(tmp_path))
    with pytest.raises(
        ParameterError, match=f"(?s)'{wrong}' is not a class of ImageNet-1k.*--labels"
    ):
        entry_class_indices(dataset, [imagenet()])
    assert entry_class_indices(dataset, [imagenet()], "none")[imagenet().key] == (None, None)
    known = {"n07920052": 967, wrong: None}
    expected = tuple(known[entry.folders[0]] for entry in dataset.entries)
    assert entry_class_indices(dataset, [imagenet()], "known")[imagenet().key] == expected


def test_names_that_only_case_tells_apart_are_told_apart_by_it(tmp_path: Path) -> None:
    letters = Labels("letters", (*"0123456789", *"ABC", *"abc"))
    for name in ("A", "a"):
        put(tmp_path / "letters" / name / "x.png")
    found = entry_class_indices(open_dataset(str(tmp_path / "letters")), [letters])
    assert found[letters.key] == (10, 13)
    assert class_index("Cardigan", imagenet()) == 264  # the dog
    assert class_index("cardigan", imagenet()) == 474  # the sweater
    assert class_index("CARDIGAN", imagenet()) is None
    put(tmp_path / "both" / "CARDIGAN" / "x.png")
    with pytest.raises(ParameterError, match="Did you mean 'Cardigan' or 'cardigan'"):
        entry_class_indices(open_dataset(str(tmp_path / "both")), [imagenet()])


def test_each_set_of_classes_has_its_own_index(tmp_path: Path) -> None:
    put(tmp_path / "two" / "a.png")
    put(tmp_path / "tabby" / "a.png")
    found = entry_class_indices(open_dataset(str(tmp_path)), [imagenet(), DIGITS])
    assert found[imagenet().key] == (281, None)
    assert found[DIGITS.key] == (None, 2)


def test_padded_indices_are_classes_in_folders_archives_and_tables(tmp_path: Path) -> None:
    for name in ("007", "281"):
        put(tmp_path / "set" / name / "a.png")
    (tmp_path / "set.csv").write_text("path,label\nset/007/a.png,007\nset/281/a.png,281\n")
    texts = pd.DataFrame({"path": ["set/007/a.png", "set/281/a.png"], "label": ["007", "0281"]})
    texts.to_parquet(tmp_path / "texts.parquet")
    texts.assign(label=[7, 281]).to_parquet(tmp_path / "numbers.parquet")
    zipped(tmp_path / "set.zip", {"007/a.png": png(), "281/a.png": png()})
    for source in ("set", "set.csv", "texts.parquet", "numbers.parquet", "set.zip"):
        dataset = open_dataset(str(tmp_path / source))
        assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (7, 281), source


@pytest.mark.parametrize("source", ["empty", "nowhere", "notes.txt", "pipe"])
def test_what_is_no_dataset_gets_a_sentence(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ParameterError, match="expected"):
        open_dataset(str(tmp_path / source))


def test_what_cannot_be_read_goes_by_its_name_in_the_dataset(tmp_path: Path) -> None:
    put(tmp_path / "set" / "tench" / "a.png")
    (tmp_path / "set" / "tench" / "b.png").write_bytes(b"")
    (tmp_path / "set" / "list.csv").write_text("path\ntench/b.png\n")
    for source in (tmp_path / "set", tmp_path / "set" / "list.csv"):
        dataset = open_dataset(str(source))
        with pytest.raises(ImageError, match=r'^"tench/b.png" is empty'):
            dataset.read(dataset.entries[-1])


def test_an_empty_source_is_not_the_folder_one_happens_to_be_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match="SOURCE is empty: expected"):
        open_dataset("")


def test_the_samples_are_a_dataset() -> None:
    dataset = open_dataset("samples")
    assert names(dataset) == list(SAMPLES.names)
    assert dataset.read(dataset.entries[0]) == sample_bytes(SAMPLES.names[0])


# --- selection ------------------------------------------------------------------------------------


def test_a_selection_keeps_the_order_and_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for number in range(30):
        put(tmp_path / f"{number:02}.png")

    def chosen(**how: int) -> list[str]:
        dataset = open_dataset(str(tmp_path))
        dataset.select(**how)
        return names(dataset)

    assert chosen(limit=2) == ["00.png", "01.png"]
    drawn = chosen(sample=10, seed=3)
    assert drawn == chosen(sample=10, seed=3) == sorted(drawn)
    assert len(set(drawn)) == 10
    assert drawn != chosen(sample=10, seed=4)
    assert chosen(sample=99) == chosen()
    assert set(chosen(limit=5, sample=3)) < set(chosen(limit=5))
    with pytest.raises(ParameterError, match="--sample"):
        chosen(sample=0)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_names_pictures_and_their_classes(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "photos" / "a.png")
    put(tmp_path / "b.png", png(1))
    frame = pd.DataFrame(
        {"Path": ["photos/a.png", "b.png", "gone.png", "b.png"], "label": [281, 7, None, 7]}
    )
    table = tmp_path / f"list{suffix}"
    frame.to_csv(table, index=False) if suffix == ".csv" else frame.to_parquet(table)
    dataset = open_dataset(str(table))
    assert names(dataset) == ["photos/a.png", "b.png", "gone.png"]
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (
        281,
        7,
        None,
    )  # written as 281.0
    assert dataset.read(dataset.entries[1]) == png(1)
    with pytest.raises(ImageError, match="does not exist"):
        dataset.read(dataset.entries[2])


def test_a_csv_with_a_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    put(tmp_path / "a, b.png")
    text = '\ufefffile,class\n"a, b.png",tench\n'
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    dataset = open_dataset(str(tmp_path / "list.csv"))
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (0,)
    assert dataset.read(dataset.entries[0]) == png()


@pytest.mark.filterwarnings("error")
def test_a_comma_at_the_end_of_every_row_moves_no_column(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.png,7,\nb.png,,\n")
    dataset = open_dataset(str(tmp_path / "list.csv"))
    assert [(entry.name, entry.label) for entry in dataset.entries] == [
        ("a.png", "7"),
        ("b.png", None),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na.png,1\nb.png,1,2\n", "row 2 has 3 values for 2 columns"),
        (b"", "it is empty"),
        (b"name,label\nx.png,1\n", "expected a column 'path'.*got the columns name, label"),
        (b"path;label\nx.png;1\n", "got the columns path;label.*commas"),
        (b'path,label\na.png,1\n"b.png,1\n', "after 2 rows its quotes are damaged"),
        (b"path,label,scene\na.png,1,x\n,7,x\n", "a path in row 2, .*label '7'"),
        (b"path,label\nx.png,1\nx.png,2\n", "two labels for .*'1' and '2'"),
        (b"path,Path\nx.png,y.png\n", "expected one column 'path', got 'path' and 'Path'"),
        (b"path,label,label\nx.png,1,2\n", "expected one column 'label'"),
        (b"\xff\xfe\x00\x81", "cannot be read as a table"),
        (b"path,label\n", "names no image"),
    ],
)
def test_a_table_that_cannot_be_used_gets_a_sentence(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(ParameterError, match=message):
        open_dataset(str(tmp_path / "list.csv"))


def test_texts_of_a_parquet_table_may_be_bytes_but_no_lists(tmp_path: Path) -> None:
    file = parquet(tmp_path / "list.parquet", path=[b"\xc3\xa9.png"], label=["tench"])
    assert names(open_dataset(str(file))) == ["é.png"]
    for column, other in (("path", "label"), ("label", "path")):
        values = {column: [["tench"]], other: ["tench"]}
        with pytest.raises(ParameterError, match=f"in the column '{column}', got lists"):
            open_dataset(str(parquet(tmp_path / "list.parquet", **values)))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_table_of_a_terabyte_is_refused_in_seconds(tmp_path: Path, suffix: str) -> None:
    for head in (b"path,label\n", b"image,condition,prediction\n"):
        file = terabyte(tmp_path / f"list.{suffix}", head)
        for read in (open_dataset, rb.evaluate_predictions):
            with (
                within(10),
                growing_at_most(60),
                pytest.raises(ParameterError, match=r"1,099,.* bytes are more than the [14],"),
            ):
                read(str(file))


@pytest.mark.parametrize(
    "row", [bytes(3 * 2**20), b'"\n",' * 10**6], ids=["one line", "one row of many lines"]
)
def test_a_row_has_a_largest_length(tmp_path: Path, row: bytes) -> None:
    for content in (row, b"path,label\na.png,1\n" + row):
        (tmp_path / "list.csv").write_bytes(content)
        with pytest.raises(ParameterError, match="a row has more than 1,048,576 characters"):
            open_dataset(str(tmp_path / "list.csv"))


def parquet(place: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), place, compression="zstd")
    return place


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.nulls(times, pa.int32()).fill_null(0), [text])


def lying(path: Path, lie: Callable[[bytes], bytes]) -> Path:
    """A table of one image with another footer."""
    data = parquet(path, path=["a.png"]).read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = lie(data[-8 - length : -8])
    path.write_bytes(data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


TABLES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "rows": (
        lambda path: parquet(path, path=repeated("a.png", 3_000_000)),
        "would expand to 3,000,000 rows",
    ),
    "texts": (
        lambda path: parquet(path, path=repeated("x" * 20_000, 90_000)),
        "would expand to more than 33,554,432 bytes",
    ),
    "a footer that is none": (
        lambda path: lying(path, lambda footer: b"\x19" * len(footer)),
        "it is damaged",
    ),
    "a list without end": (  # of the elements of its schema, of which a reader makes room for all
        lambda path: lying(path, lambda footer: b"\x15\x04\x19\xfc\xff\xff\xff\x07" + footer[4:]),
        "it is damaged",
    ),
    "front coding": (
        lambda path: (
            pq.write_table(
                pa.table({"path": [f"{'x' * 20_000}{n}.png" for n in range(2000)]}),
                path,
                use_dictionary=False,
                column_encoding={"path": "DELTA_BYTE_ARRAY"},
            )
            or path
        ),
        r"would expand to 40,.* bytes",
    ),
}


@pytest.mark.parametrize(("make", "said"), TABLES.values(), ids=TABLES)
def test_a_table_that_would_take_far_more_than_it_holds_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    table = make(tmp_path / "list.parquet")
    assert table.stat().st_size < 200_000
    with growing_at_most(60), pytest.raises(ParameterError, match=said) as refused:
        open_dataset(str(table))
    assert str(refused.value).startswith("list.parquet ")


def test_a_parquet_table_may_have_nested_and_coded_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "thumb": [{"bytes": b"x"}] * 3,
            "path": ["a.png", "b.png", "c.png"],
            "label": pa.array(["1", None, "2"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    dataset = open_dataset(str(tmp_path / "list.parquet"))
    assert [(e.name, e.label) for e in dataset.entries] == [
        ("a.png", "1"),
        ("b.png", None),
        ("c.png", "2"),
    ]
    pq.write_table(table.select(["thumb", "label"]), tmp_path / "list.parquet")
    with pytest.raises(ParameterError, match=r"expected a column 'path'.*got the columns label"):
        open_dataset(str(tmp_path / "list.parquet"))


# --- archives -------------------------------------------------------------------------------------


def test_an_archive_is_read_without_unpacking_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"tabby/a.png": png(1), "tench/b.png": png(2), "x.md": b""})
    dataset = open_dataset(str(path))
    assert names(dataset) == ["tabby/a.png", "tench/b.png"]
    assert dataset.read(dataset.entries[1]) == png(2)
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (281, 0)
    assert os.listdir(tmp_path) == ["set.zip"]
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied.read(copied.entries[0]) == png(1)


def test_a_folder_around_everything_in_an_archive_says_nothing(tmp_path: Path) -> None:
    wrapped = {"val/tabby/a.png": png(), "val/tench/b.png": png()}
    dataset = open_dataset(str(zipped(tmp_path / "set.zip", wrapped)))
    assert entry_class_indices(dataset, [imagenet()])[imagenet().key] == (281, 0)
    flat = open_dataset(str(zipped(tmp_path / "flat.zip", {"photos/a.png": png()})))
    assert entry_class_indices(flat, [imagenet()])[imagenet().key] == (None,)
    one = open_dataset(str(zipped(tmp_path / "one.zip", {"tabby/a.png": png()})))
    assert entry_class_indices(one, [imagenet()])[imagenet().key] == (281,)


def test_ten_thousands_of_equal_names_are_told_apart() -> None:
    many = 30_000  # takes hours where each of them counts from the start
    found = distinct(["a.png", "a (2).png"] + ["a.png"] * many)
    assert len(set(found)) == many + 2
    assert found[:4] == ["a.png", "a (2).png", "a (3).png", "a (4).png"]
    assert found[-1] == f"a ({many + 2}).png"


def test_equal_names_in_an_archive_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png(1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", png(2))
    dataset = open_dataset(str(path))
    assert names(dataset) == ["a.png", "a (2).png"]
    assert [dataset.read(entry) for entry in dataset.entries] == [png(1), png(2)]


@pytest.mark.parametrize("name", ["x/../../a.png", "/etc/a.png", "C:\\a.png", "..\\a.png"])
def test_paths_out_of_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "slip.zip", {"b.png": png(), name: png()})
    with pytest.raises(ParameterError, match=r"refused.*leads out"):
        open_dataset(str(path))


def test_a_colon_in_a_name_leads_nowhere(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"1: cat.png": png(1), "A: cup.png": png(2)})
    assert names(open_dataset(str(path))) == ["1: cat.png", "A: cup.png"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {f"{n}.png": bytes(50_000_000) for n in range(6)})
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(ParameterError, match="would unpack to 300,000,000"):
        open_dataset(str(bomb))


def with_entries(path: Path, number: int) -> Path:
    """An archive that lists one empty file ``number`` times."""
    zipped(path, {"a.png": b""})
    data = path.read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entries = data[start:end] * number
    sizes = struct.pack("<HHLL", number & 0xFFFF, number & 0xFFFF, len(entries), start)
    path.write_bytes(data[:start] + entries + data[end : end + 8] + sizes + data[end + 20 :])
    return path


def test_a_long_list_of_contents_is_refused_before_it_takes_memory(
    tmp_path: Path,
) -> None:
    path = with_entries(tmp_path / "many.zip", 999_999)
    with (
        growing_at_most(100),
        pytest.raises(ParameterError, match=r"^many\.zip holds more than 200,000 files"),
    ):
        open_dataset(str(path))


def test_a_list_of_contents_as_long_as_allowed_is_read(tmp_path: Path) -> None:
    with BoundedZip(with_entries(tmp_path / "some.zip", 3_000), 3_000) as opened:
        assert len(opened.infolist()) == 3_000
        assert opened.read(opened.infolist()[-1]) == b""
    with pytest.raises(TooManyFilesError):
        BoundedZip(tmp_path / "some.zip", 2_999)


def test_a_file_that_is_too_large_or_damaged_is_its_own_fault(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"big.png": bytes(70_000_000), "ok.png": png()})
    data = bytearray(path.read_bytes())
    dataset = open_dataset(str(path))
    with pytest.raises(ImageError, match=r"unpacks to 70,000,000 bytes"):
        dataset.read(dataset.entries[0])
    assert dataset.read(dataset.entries[1]) == png()
    place = (
        data.rindex(png()[-60:-40]) if png()[-60:-40] in data else data.rindex(b"ok.png", 0, -80)
    )
    data[place + 8 : place + 20] = b"\0" * 12
    path.write_bytes(data)
    damaged = open_dataset(str(path))
    with pytest.raises(ImageError, match="damaged"):
        damaged.read(damaged.entries[1])


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [(6, 1, "is encrypted"), (8, 9, "rare compression method")],
)
def test_what_cannot_be_unpacked_says_why(
    tmp_path: Path, place: int, value: int, said: str
) -> None:
    """The bit of encryption, and Deflate64 as Windows packs what is large."""
    path = zipped(tmp_path / "set.zip", {"a.png": png()})
    data = bytearray(path.read_bytes())
    listed = data.index(b"PK\1\2")
    data[place] = data[listed + 2 + place] = value
    path.write_bytes(data)
    dataset = open_dataset(str(path))
    with pytest.raises(ImageError, match=said):
        dataset.read(dataset.entries[0])


def test_what_is_no_archive_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ParameterError, match="cannot be opened as a zip archive"):
        open_dataset(str(tmp_path / "a.zip"))


# --- shared storage -------------------------------------------------------------------------------


def test_a_url_is_listed_and_read_like_a_folder(tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path / "set", 1)
    remote, local = open_dataset(f"file://{folder}"), open_dataset(str(folder))
    assert names(remote) == names(local)
    assert entry_class_indices(remote, [imagenet()]) == entry_class_indices(local, [imagenet()])
    assert remote.read(remote.entries[0]) == local.read(local.entries[0])


@pytest.mark.parametrize("url", ["nothing-of-this-kind://bucket/photos", "file:///nowhere/at/all"])
def test_a_url_that_cannot_be_listed_gets_a_sentence(url: str) -> None:
    with pytest.raises(ParameterError, match=url.partition(":")[0]):
        open_dataset(url)


@pytest.mark.parametrize(("text", "near"), [("dogs", "dog"), ("wild cats", "cat")])
def test_a_folder_without_a_class_is_told_the_nearest(text: str, near: str, tmp_path: Path) -> None:
    (tmp_path / "set" / text).mkdir(parents=True)
    drawing(0).save(tmp_path / "set" / text / "a.png")
    with pytest.raises(LabelError, match=rf"Did you mean '[^']*\b{near}\b"):
        entry_class_indices(open_dataset(str(tmp_path / "set")), [imagenet()])
    (tmp_path / "set" / text).rename(tmp_path / "set" / "a")
    with pytest.raises(LabelError) as caught:
        entry_class_indices(open_dataset(str(tmp_path / "set")), [imagenet()])
    assert "Did you mean" not in str(caught.value)


def test_study_images_are_not_cropped_again(tmp_path: Path) -> None:
    """As ``export`` writes them; another size goes through the fit."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "exported.png")
    Image.fromarray(pixels).resize((65, 64)).save(tmp_path / "other.png")
    exported, other = sample_pixels(
        open_dataset(str(tmp_path)), Framing("crop", 64), 10, 0, lambda *_: None
    ).pixels
    assert (exported == pixels).all()
    assert (other != pixels).any()
