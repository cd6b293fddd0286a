"""The files of a report: what is in them, whom they trust, and what they cost."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.support.server import OF_THE_SYSTEM
from benchmarks.support.synthetic_rows import severities
from benchmarks.support.synthetic_runs import measurement, pictures, saved
from robustness import report, runs
from robustness.attacks import NORMS
from robustness.base.errors import RunError
from robustness.cli import main
from robustness.images.decoding import sample_bytes
from robustness.images.pixels import to_png, to_uint8
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.measure.rows import COLUMNS, SCHEMA, dictionary, to_table
from robustness.report.tables import judged
from tests.support.hostile_texts import TEXTS
from tests.support.reports import (
    HOSTILE,
    SHARES,
    WHEN,
    Page,
    live,
    study,
    swept,
)

NAMES = [f"{number:04}.png" for number in range(40)]
NAMES[23:26] = ["写真猫.png", "кошка.png", HOSTILE]  # among those that fall furthest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    folder = tmp_path_factory.mktemp("reported")
    digests = pictures(folder / "set", NAMES)
    levels = [
        Condition.of({name: strength})
        for name, strength in severities("fog")
        if strength is not None
    ]
    return saved(
        folder / "runs" / "made-up",
        digests,
        SHARES,
        source=folder / "set",
        conditions=[*levels, Condition.of({"rotation": 0.5, "contrast": 0.4})],
        unreadable=[("<b>broken</b>.jpg", "Not an image.")],
        each=16,
    )


@pytest.fixture(scope="module")
def content(run: runs.Run) -> report.Report:
    return report.of_run(run)


@pytest.fixture(scope="module")
def made(content: report.Report) -> dict[str, bytes]:
    """The report of the run in every format."""
    return every_format(content)


def every_format(content: report.Report) -> dict[str, bytes]:
    return {
        suffix: report.rendered(content, format.write, WHEN)
        for suffix, format in report.FORMATS.items()
        if not format.needs_browser
    }


@pytest.fixture(scope="module")
def page(made: dict[str, bytes]) -> Page:
    return Page(made[".html"].decode())


# --- HTML -----------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing(page: Page) -> None:
    kinds = [script.get("type") for script in page.all("script")]
    assert kinds == ["application/json", "text/plain", None]
    assert not page.all("link")
    assert not page.all("iframe")
    sources = [str(image["src"]) for image in page.all("img")]
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_the_policy_of_a_page_allows_its_own_scripts_alone(made: dict[str, bytes]) -> None:
    text = made[".html"].decode()
    page = Page(text)
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta]
    (own,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    packed = gzip.decompress(base64.b64decode(page.scripts[1])).decode()
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in (packed, own)
    ]
    rules = {name: values for name, *values in map(str.split, policy.split(";"))}
    assert rules == {
        "default-src": ["'none'"],
        "script-src": [f"'sha256-{digest}'" for digest in digests],
        "style-src": ["'unsafe-inline'"],
        "img-src": ["data:"],
    }
    assert text.index("http-equiv") < min(map(text.index, ("<script", "<style", "<body")))


def test_what_stands_in_a_script_cannot_end_it(content: report.Report) -> None:
    told = {"</script>": "<!-- & \u2028"}
    figure = go.Figure(layout={"height": 100, "meta": told})
    section = report.blocks.Section("A", [report.blocks.Chart("b", figure, "c")])
    content = replace(content, sections=[section])
    page = Page(report.rendered(content, report.FORMATS[".html"].write, WHEN).decode())
    assert not set(page.scripts[0]) & set("<>&\u2028")
    assert json.loads(page.scripts[0])["c0"]["layout"]["meta"] == told


def test_every_text_of_a_page_is_escaped() -> None:
    """Wherever a report holds text, ``HOSTILE`` is shown there and does nothing."""
    content = report.blocks
    table = content.Table((f"head {HOSTILE}",), [(f"cell {HOSTILE}",)])
    shot = content.Shot(to_png(np.zeros((4, 4, 3), np.float32)), f"shot {HOSTILE}", HOSTILE)
    case = content.Case(f"case {HOSTILE}", [shot], judged(True, None), [f"line {HOSTILE}"])
    blocks: list[report.blocks.Block] = [
        content.Text(f"text {HOSTILE}"),
        content.Titled(f"table {HOSTILE}", table),
        content.Titled(f"long {HOSTILE}", table, long=True),
        content.Chart(f"chart {HOSTILE}", go.Figure(layout={"height": 90}), HOSTILE, "n" + HOSTILE),
        content.Cases(f"cases {HOSTILE}", lambda: iter([case])),
    ]
    told = content.Report(
        title=HOSTILE,
        answers=[(f"question {HOSTILE}", f"answer {HOSTILE}")],
        facts=[(f"name {HOSTILE}", f"value {HOSTILE}")],
        cautions=[f"caution {HOSTILE}"],
        sections=[content.Section(f"section {HOSTILE}", blocks)],
        brief=[],
        methods=[content.Text(f"method {HOSTILE}")],
        limits=[f"limit {HOSTILE}"],
        manifest={HOSTILE: HOSTILE},
        replay=f"replay {HOSTILE}",
        data=content.Data(lambda: iter([])),
        note=f"note {HOSTILE}",
    )
    page = Page(report.rendered(told, report.FORMATS[".html"].write, WHEN).decode())
    assert len(page.scripts) == 3
    assert [image["alt"] for image in page.all("img")] == [HOSTILE]
    assert not [tag for tag, attributes in page.tags if "onerror" in attributes]
    plots = [part for part in page.all("div") if part.get("class") == "plot"]
    assert [part["aria-label"] for part in plots] == [HOSTILE]
    for words in (
        *("name", "value", "caution", "section", "text", "head", "cell", "table", "chart", "n"),
        *("cases", "case", "shot", "line", "method", "limit", "note", "question", "answer"),
    ):
        shown = HOSTILE if words == "n" else f" {HOSTILE}"
        assert any(f"{words}{shown}" in text for text in page.text), words
    assert any(text.startswith(f"long {HOSTILE}: 1 row") for text in page.text)
    # a backtick in what says how to get it again is read as the mark of code
    assert f"replay {HOSTILE}".replace("`", "") in "".join(page.text)


def test_headings_descend_and_everything_seen_has_words(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    assert all(image["alt"] for image in page.all("img"))
    plots = [part for part in page.all("div") if part.get("class") == "plot"]
    assert plots
    assert all(part["role"] == "img" and part["aria-label"] for part in plots)
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html")[0]["lang"] == "en"


def test_pictures_are_inlined_losslessly(run: runs.Run) -> None:
    content = report.of_run(run)
    cases = [
        case
        for section in content.sections
        for block in section.printed
        if isinstance(block, report.blocks.Cases)
        for case in block.read()
    ]
    assert {case.verdict and case.verdict.good for case in cases} == {True, False}
    (name,) = [
        line.removeprefix("Image: ") for line in cases[0].lines if line.startswith("Image: ")
    ]
    clean = run.picture(name)
    (condition,) = [c for c in run.conditions if cases[0].lines[0].endswith(c.described)]
    for shot, image in zip(
        cases[0].shots, (clean.image, perturbed(clean, [condition], run.seed)[0]), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shot.png))), to_uint8(image))
    text = report.rendered(content, report.FORMATS[".html"].write, WHEN).decode()
    first = next(shown for shown in Page(text).all("img") if shown["alt"] == cases[0].shots[0].alt)
    webp = base64.b64decode(str(first["src"]).partition(",")[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(webp))), to_uint8(clean.image))


def test_a_picture_that_is_gone_or_changed_is_said_to_be(run: runs.Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder.parent.parent / "set", tmp_path / "set")
    for name in NAMES[:20]:
        (tmp_path / "set" / name).write_bytes(sample_bytes("coffee"))
    for name in NAMES[20:]:
        (tmp_path / "set" / name).unlink()
    asked = replace(run.manifest.dataset, source=str(tmp_path / "set"))
    moved = runs.Run(run.folder, replace(run.manifest, dataset=asked), run.parts)
    text = report.rendered(report.of_run(moved), report.FORMATS[".html"].write, WHEN).decode()
    assert not Page(text).all("img")
    assert "its pixels have changed since" in text
    assert "no longer among the images" in text


def test_an_attacked_picture_is_not_made_for_a_report(tmp_path: Path) -> None:
    digests = pictures(tmp_path / "set", ["a.png", "b.png"])
    attack = Condition.attack("pgd", epsilon=8 / 255)
    conditions = [Condition.of({"fog": 0.6}), attack]
    kept = {name: np.array([[True, False]] * 2) for name in SHARES}
    run = saved(
        tmp_path / "run",
        digests,
        SHARES,
        source=tmp_path / "set",
        conditions=conditions,
        kept=kept,
        labelled=False,
    )
    content = report.of_run(run)
    shown = Page(report.rendered(content, report.FORMATS[".html"].write, WHEN).decode())
    assert sum(part.get("class") == "case" for part in shown.all("li")) == 4
    assert [str(image["alt"]).endswith("original") for image in shown.all("img")].count(True) == 4
    assert len(shown.all("img")) == 6, "two survivors under fog have their perturbed image"
    assert any("Evaluations page shows the attacked image" in text for text in shown.text)


# --- the same for everybody -----------------------------------------------------------------------


def test_the_command_and_the_page_make_the_same_bytes(
    run: runs.Run, made: dict[str, bytes], tmp_path: Path
) -> None:
    content = report.of_run(runs.load(run.folder))
    for suffix, data in made.items():
        (file, *_) = report.write(content, tmp_path / f"a{suffix}", WHEN)
        assert file.read_bytes() == data, suffix


# --- rows -----------------------------------------------------------------------------------------


def test_every_column_is_explained() -> None:
    assert [column["column"] for column in dictionary([])] == SCHEMA.names
    assert all(column.meaning and column.values and column.type for column in COLUMNS)
    (strength,) = (column for column in COLUMNS if column.name == "strength")
    for norm in NORMS:
        assert (norm.label in strength.values) == (norm.most > 1), "what goes beyond 1 is named"


def test_parquet_holds_the_rows_and_what_they_mean(run: runs.Run, made: dict[str, bytes]) -> None:
    table = pq.read_table(io.BytesIO(made[".parquet"]))
    assert table.replace_schema_metadata(None).cast(SCHEMA).equals(run.table())
    assert table.schema.field("cosine").metadata[b"meaning"].startswith(b"Cosine similarity")
    told = json.loads(table.schema.metadata[b"robustness_report"])
    assert told["manifest"]["id"] == run.id


def test_json_holds_rows_tables_and_dictionary(run: runs.Run, made: dict[str, bytes]) -> None:
    document = json.loads(made[".json"])
    assert document["rows"] == run.table().to_pylist()
    assert [column["column"] for column in document["data_dictionary"]] == SCHEMA.names
    assert {entry["model"] for entry in document["summary"]} == set(SHARES)
    assert len(document["answer"]) == 3
    assert document["created"] == "2026-01-02T03:04:00+00:00"


def test_csv_holds_the_rows_and_a_second_file_explains_them(
    run: runs.Run, content: report.Report, made: dict[str, bytes], tmp_path: Path
) -> None:
    rows = list(csv.DictReader(io.StringIO(made[".csv"].decode(), newline="")))
    expected = run.table().to_pylist()
    assert len(rows) == len(expected)
    assert [row["image"] for row in rows] == [row["image"] for row in expected]
    assert float(rows[0]["cosine"]) == expected[0]["cosine"]
    assert json.loads(rows[0]["top5"]) == expected[0]["top5"]
    assert rows[0]["consistent"] == str(expected[0]["consistent"]).lower()
    composed = next(row for row in rows if "+" in row["perturbation"])
    assert composed["strength"] == ""
    names = [path.name for path in report.write(content, tmp_path / "a.csv", WHEN)]
    assert names == ["a.csv", "a.columns.csv"]
    text = (tmp_path / "a.columns.csv").read_text(encoding="utf-8")
    told = list(csv.DictReader(io.StringIO(text)))
    assert [row["column"] for row in told] == list(rows[0])


# --- Markdown and PDF -----------------------------------------------------------------------------


def test_markdown_is_a_section_with_tables_that_no_name_breaks(
    run: runs.Run, content: report.Report
) -> None:
    content = replace(content, title=HOSTILE, cautions=[f"x {HOSTILE}"])
    cells = report.blocks.Titled("t", report.blocks.Table(("a", "b"), [(HOSTILE, "1")]))
    text = report.rendered(replace(content, brief=[cells]), report.FORMATS[".md"].write, WHEN)
    lines = text.decode().splitlines()
    assert lines[0] == "## Robustness"
    unescaped = re.compile(r"(?<!\\)[<>`*_\[\]$]")
    (row,) = [line for line in lines if line.startswith("| a\\<")]
    assert not unescaped.search(row)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not unescaped.search(lines[2].removeprefix("**").removesuffix("**"))
    block = "\n".join(lines).split("```")
    assert len(block) == 3, "nothing in the manifest ends its block"
    assert json.loads(block[1].removeprefix("json"))["id"] == run.id


def test_a_pdf_is_printed_in_the_sandbox_of_an_installed_browser(
    content: report.Report, tmp_path: Path
) -> None:
    if not any(map(shutil.which, OF_THE_SYSTEM)):
        pytest.skip("no Chromium found")
    (path,) = report.write(content, tmp_path / "report.pdf", WHEN)
    data = path.read_bytes()
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 2


def test_the_browser_that_prints_sees_no_settings_and_no_keys(
    content: report.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / OF_THE_SYSTEM[0]
    browser.write_text(
        '#!/bin/sh\nfor option; do case "$option" in\n'
        '--print-to-pdf=*) env > "${option#*=}";;\nesac; done\n'
    )
    browser.chmod(0o755)
    for name in ("ROBUSTNESS_METRICS_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # root prints as another account
    (path,) = report.write(content, tmp_path / "report.pdf", WHEN)
    assert f"PATH={tmp_path}" in path.read_text()
    assert "secret" not in path.read_text()


def test_without_a_browser_a_pdf_is_refused_in_a_sentence(
    run: runs.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    to = tmp_path / "report.pdf"
    assert main.main(["report", str(run.folder), "--to", str(to)]) == 2
    assert "Chromium" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- every format ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile() -> report.Report:
    """A report with hostile texts wherever it holds texts that come from outside."""
    texts = (HOSTILE, *TEXTS)
    table = report.blocks.Titled("Names", report.blocks.Table(("Name",), [(t,) for t in texts]))
    condition = Condition.of({"fog": 0.4})
    rows = [measurement(text, "0" * 64, "SqueezeNet", condition, True) for text in texts]
    return report.Report(
        title=HOSTILE,
        answers=[(f"Is it {text}?", text) for text in texts],
        facts=[(text, text) for text in texts],
        cautions=texts,
        sections=[report.blocks.Section(HOSTILE, [table, *map(report.blocks.Text, texts)])],
        brief=[table],
        methods=[report.blocks.Text(text) for text in texts],
        limits=texts,
        manifest={},
        replay="",
        data=report.blocks.Data(lambda: iter([to_table(rows, [0] * len(rows))])),
        note=HOSTILE,
    )


@pytest.mark.parametrize("form", report.FORMATS.values(), ids=report.FORMATS)
def test_no_format_takes_a_sign_of_a_name_for_its_own(
    hostile: report.Report, form: report.Format
) -> None:
    if form.needs_browser:
        pytest.skip("prints the page")
    data = report.rendered(hostile, form.write, WHEN)
    if form.escaped is None:
        with pytest.raises(UnicodeDecodeError):  # else a text, which has to be escaped
            data.decode()
        return
    assert form.escaped(HOSTILE) != HOSTILE
    document = data.decode()
    escaped = {text: form.escaped(text) for text in (HOSTILE, *TEXTS)}
    for text in escaped.values():
        assert text in document
    # longest first, as some texts are parts of others
    for text in sorted(escaped.values(), key=len, reverse=True):
        document = document.replace(text, "")
    assert not [text for text in escaped if text in document]


@pytest.mark.parametrize("form", report.FORMATS.values(), ids=report.FORMATS)
def test_every_format_but_rows_tells_answers_cautions_and_limits(
    hostile: report.Report, form: report.Format
) -> None:
    if form.needs_browser or form.rows_only or form.escaped is None:
        pytest.skip("prints the page" if form.needs_browser else "holds rows only")
    content = replace(
        hostile,
        title="The title",
        answers=[("Question?", "The answer.")],
        cautions=["The caution."],
        limits=["The limit."],
    )
    document = report.rendered(content, form.write, WHEN).decode()
    for text in ("The title", "The answer.", "The caution.", "The limit."):
        assert form.escaped(text) in document


# --- the other results ----------------------------------------------------------------------------

Built = Callable[[], report.Report]


@cache
def handed_on(build: Built) -> dict[str, bytes]:
    """The report of ``build`` in every format."""
    return every_format(build())


@pytest.mark.parametrize("build", [study, live, swept])
def test_every_result_can_be_handed_on_in_every_format(build: Built) -> None:
    content = build()
    for suffix, data in handed_on(build).items():
        assert data == report.rendered(content, report.FORMATS[suffix].write, WHEN), suffix
        assert len(data) < 15 * 2**20
        if suffix == ".html":
            shown = Page(data.decode())
            assert len(shown.scripts) == 3
            assert not [image for image in shown.all("img") if "onerror" in image]
            assert set(json.loads(shown.scripts[0])) == {
                part["id"] for part in shown.all("div") if part.get("class") == "plot"
            }
        elif suffix == ".json":
            assert content.data.read is not None
            assert len(json.loads(data)["rows"]) == sum(t.num_rows for t in content.data.read())


# --- the command ----------------------------------------------------------------------------------


def test_an_unfinished_run_is_reported_with_a_mark(
    run: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(run.folder, folder)
    told = json.loads((folder / "manifest.json").read_text())
    told |= {"status": "unfinished", "dataset": {**told["dataset"], "pictures": 90}}
    (folder / "manifest.json").write_text(json.dumps(told))
    assert main.main(["report", str(folder), "--to", str(tmp_path / "a.md")]) == 0
    assert "is not finished (41 of 90 images)" in capsys.readouterr().err
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert "> Unfinished run: 41 of 90 images" in text


def test_bad_input_ends_in_a_sentence_and_leaves_nothing(
    run: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--out", str(run.folder.parent)]
    (tmp_path / "file").write_text("x")
    for arguments, words in (
        (["nowhere", "--to", str(tmp_path / "a.html"), *here], "There is no run nowhere"),
        (
            [run.id, "--to", str(tmp_path / "a.docx"), *here],
            "Expected the name of a report to end in .html, .pdf",
        ),
        ([run.id, "--to", str(tmp_path), *here], "Expected the name of a report to end in"),
        ([run.id, "--to", str(tmp_path / "file" / "a.md"), *here], "cannot be written"),
        (["../made-up", "--to", str(tmp_path / "a.md"), *here], "There is no run ../made-up"),
    ):
        assert main.main(["report", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_report_that_fails_halfway_leaves_the_old_one(
    run: runs.Run, content: report.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def fail() -> Iterator[pa.Table]:
        yield run.table()
        raise RunError("The disk is gone.")

    broken_data = replace(content.data, read=fail)
    with pytest.raises(RunError):
        report.write(replace(content, data=broken_data), target, WHEN)
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("ftp://me:secret@host/photos", "ftp://host/photos"),
        ("/srv/runs/.uploads/5f2a/thirty.zip", "thirty.zip"),
        ("C:\\photos\\val", "val"),
        ("photos/val", "photos/val"),
        ("samples", "samples"),
    ],
)
def test_passwords_and_folders_of_the_machine_are_not_handed_on(
    run: runs.Run, source: str, told: str
) -> None:
    asked = replace(run.manifest.dataset, source=source)
    made = report.of_run(runs.Run(run.folder, replace(run.manifest, dataset=asked), run.parts))
    assert made.manifest["dataset"]["source"] == told
