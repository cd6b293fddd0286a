"""What is read of the files of a run equals what its frame says."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support.synthetic_rows import APGD, PGD
from benchmarks.support.synthetic_runs import saved, with_column
from robustness import runs
from robustness.base.errors import RunError
from robustness.measure.condition import Condition
from robustness.measure.labels import CORRECTNESS
from robustness.runs import Analysis, analysis, results
from robustness.runs import rows as row_files
from robustness.runs.cases import SURVIVORS, WORST, RowSelection
from robustness.runs.rows import Rows
from robustness.statistics import Criteria, Figures, choose, grid
from robustness.statistics.grid import MEANS, grids
from tests.support.frames import cases, difference

MODELS = {"SqueezeNet": 0.5, "EfficientNetLite0": 0.8, "EfficientNetLite1": 0.7}
AIMED = Condition.attack("pgd", epsilon=0.5, norm="l2", steps=10, target=281)
CONDITIONS = (
    *(Condition.of({name: level / 5}) for name in ("fog", "contrast") for level in (5, 1, 3)),
    Condition.of({"fog": 0.4, "rotation": 0.25}),
    APGD,
    PGD,
    AIMED,
)
TABLES = (
    *("summary", "by_perturbation", "by_severity", "over_models", "by_class"),
    *("corruption_errors", "robust_accuracy", "reliability"),
)


def tell(figures: Figures) -> dict[str, Any]:
    """All that is told of a run."""
    told = {name: getattr(figures, name) for name in TABLES}
    each = {q: [figures.pairs(q), figures.ranking(q)] for q in QUANTITIES}
    rest = (figures.images, figures.copies, figures.labelled)
    return {**told, "each": each, "rest": rest, "choice": figures.choice.as_dict()}


QUANTITIES = ("consistency", "perturbed_accuracy", "robust_accuracy")


def check(found: Any, expected: Any) -> None:
    """Whether both are the same, numbers to 1e-9."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            check(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert found == expected


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """40 images, of which one is a copy, 13 have no label and one lacks a model; parts in turns."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    digests = {f"{number:03}.png": f"digest {number}" for number in range(40)}
    digests["031.png"] = digests["004.png"]
    made = saved(folder, digests, MODELS, source=folder, conditions=CONDITIONS, each=10)
    rng = np.random.default_rng(1)
    for part in made.parts:
        table = pq.read_table(part.path)
        rows = table.to_pandas()[["position", "model"]]
        keep = ~((rows["position"] == 17) & (rows["model"] == "SqueezeNet")).to_numpy()
        table = with_column(table, "divergence", rng.random(len(table)).tolist())
        bare = pa.array((rows["position"] % 3 == 0).to_numpy())
        for name in ("label", *CORRECTNESS):
            at = table.schema.get_field_index(name)
            nothing = pa.nulls(len(table), table.schema.field(name).type)
            values = pa.compute.if_else(bare, nothing, table[name].combine_chunks())
            table = table.set_column(at, table.schema.field(name), values)
        pq.write_table(table.filter(pa.array(keep)), part.path, row_group_size=64)
    return in_turns(made)


def in_turns(run: runs.Run) -> runs.Run:
    """``run`` with its parts in another order, as workers that finish in turns leave them."""
    return runs.Run(run.folder, run.manifest, [run.parts[at] for at in (2, 0, 3, 1)])


def rows_of(run: runs.Run) -> Rows:
    return Rows([part.path for part in run.parts], run.rows.images, run.manifest.spec)


@pytest.mark.parametrize("room", [1, 2 * 8 * 45 * 11, row_files._MOST])
def test_grids_equal_those_of_the_frame(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """With room for numbers of one model, of two models, and for all."""
    monkeypatch.setattr(row_files, "_MOST", room)
    found, expected = rows_of(run).grids(), grids(run.frame())
    assert [grid.model for grid in found] == [grid.model for grid in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.images.tolist() == other.images.tolist()
        assert one.conditions == other.conditions
        np.testing.assert_array_equal(one.has_row, other.has_row)
        for name in ("consistent", "probability", "clean_probability", "label", *MEANS):
            np.testing.assert_array_equal(one.values(name), other.values(name))
        for name in CORRECTNESS:
            np.testing.assert_array_equal(one.flags(name), other.flags(name))


@pytest.mark.parametrize("small", [0, grid._SMALL])
def test_figures_equal_those_of_the_frame(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    """In several threads and in one."""
    monkeypatch.setattr(grid, "_SMALL", small)
    rows = rows_of(run)
    check(tell(Figures(rows.grids(), rows.axes.copies)), tell(Figures(run.frame())))


def test_a_comparison_equals_that_of_the_frames(run: runs.Run, tmp_path: Path) -> None:
    """The other run lacks images, models and conditions, and has some in another order."""
    digests = {f"{number:03}.png": f"digest {number}" for number in range(44, 4, -1)}
    digests["copy.png"] = "digest 9"
    shares = {"EfficientNetLite1": 0.4, "EfficientNetLite0": 0.8, "EfficientNetLite2": 0.5}
    conditions = (AIMED, Condition.of({"rotation": 0.25, "fog": 0.4}), APGD, *CONDITIONS[1:5])
    other = saved(tmp_path / "other", digests, shares, source=tmp_path, conditions=conditions)
    for pair in ((run, other), (other, run), (run, run)):
        found = runs.compare(*pair)
        check(found.differences, difference(*(one.frame() for one in pair)))
    assert runs.compare(run, other).images == 34


def test_queries_read_the_files_of_their_run_alone(run: runs.Run, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"secret": [1]}), other)
    rows = rows_of(run)
    with pytest.raises(RunError):
        rows.ask("SELECT * FROM read_parquet($other)", other=str(other))
    with pytest.raises(RunError):
        rows.ask("SET enable_external_access = true")
    assert rows.ask("SELECT count(*) FROM rows WHERE model = $name", name="' OR '1'='1") == [(0,)]


def test_a_metric_may_have_the_name_of_a_column_of_queries(run: runs.Run, tmp_path: Path) -> None:
    paths = []
    for part in run.parts:
        table = pq.read_table(part.path)
        paths.append(tmp_path / part.path.name)
        pq.write_table(table.append_column("good", pa.nulls(len(table), pa.float64())), paths[-1])
    query = "SELECT count(*) FILTER (good), count(*) FILTER (counted AND NOT good) FROM rows"
    rows = Rows(paths, run.rows.images, run.manifest.spec)
    assert rows.ask(query) == rows_of(run).ask(query)


def test_a_file_that_is_gone_is_said_in_one_sentence(run: runs.Run, tmp_path: Path) -> None:
    paths = [*(part.path for part in run.parts), run.folder / "part-000009.parquet"]
    gone = Rows(paths, run.rows.images, run.manifest.spec)
    with pytest.raises(RunError, match="no longer be read"):
        gone.ask("SELECT count(*) FROM rows")
    part = tmp_path / run.parts[0].path.name
    part.write_bytes(run.parts[0].path.read_bytes())
    found = Rows([part], run.rows.images, run.manifest.spec).grids()
    part.unlink()
    with pytest.raises(RunError, match="no longer be read"):
        found[0].read("cosine")


# --- cases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WORST, SURVIVORS])
@pytest.mark.parametrize(
    "chosen",
    [
        RowSelection(),
        RowSelection(model="SqueezeNet", perturbation="pgd"),
        RowSelection(conditions=(APGD.id, CONDITIONS[0].id)),
        RowSelection(classes=(("SqueezeNet", 281), ("EfficientNetLite0", 967))),
        RowSelection(model="no such"),
    ],
)
def test_cases_equal_those_of_the_frame(run: runs.Run, kind: str, chosen: RowSelection) -> None:
    frame = run.frame()
    index = frame["label"].fillna(frame["clean_top1"])
    keep = pd.Series(True, index=frame.index)
    if chosen.model:
        keep &= frame["model"] == chosen.model
    if chosen.perturbation:
        keep &= frame["perturbation"] == chosen.perturbation
    if chosen.conditions:
        keep &= frame["condition"].isin(chosen.conditions)
    if chosen.classes:
        pairs = list(zip(frame["model"], index, strict=True))
        keep &= pd.Series([pair in chosen.classes for pair in pairs], index=frame.index)
    expected = cases(frame[keep], kind)
    some = run.cases
    tally = some.tally(chosen)
    assert (tally.either.bad if kind == WORST else tally.either.good) == len(expected)
    assert tally.images == frame[keep]["image"].nunique()
    labelled = frame[keep & frame["label"].notna()]
    assert tally.by_label.counted == labelled["image"].nunique()
    for count in (1, 3, 50):
        found = some.first(chosen, kind, count)
        columns = ["image", "model", "condition", "top1"]
        told = [[row[name] for name in columns] for row in found]
        assert told == expected[columns].head(count).to_numpy().tolist()
    first, *rest = some.first(chosen, kind, 4) or [{}]
    assert some.first(chosen, kind, 3, [first.get("position", -1)]) == rest


# --- kept figures ---------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time that figures are worked out from now on."""
    found: list[int] = []
    real = analysis.figures_of

    def fresh(rows: Rows) -> Figures:
        found.append(1)
        return real(rows)

    monkeypatch.setattr(analysis, "figures_of", fresh)
    return found


def test_kept_figures_equal_fresh_ones_and_are_worked_out_once(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, worked_out = analysis.figures_of(run.rows), counted(monkeypatch)
    first = Analysis(run).figures
    kept = Analysis(run).figures
    assert len(worked_out) == 1
    assert kept.classes == fresh.classes == first.classes
    check(tell(kept), tell(fresh))
    assert choose(kept, Criteria(weights={"fog": 3})) == choose(fresh, Criteria(weights={"fog": 3}))


def test_figures_that_two_visitors_ask_for_at_once_are_worked_out_once(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.file(run.folder, results.FIGURES).unlink(missing_ok=True)
    worked_out = counted(monkeypatch)
    compute = analysis.figures_of

    def slow(rows: Rows) -> Figures:
        time.sleep(0.1)  # so that both ask before one is done
        return compute(rows)

    monkeypatch.setattr(analysis, "figures_of", slow)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(lambda: Analysis(run).figures.summary) for _ in range(2)]
    first, second = (answer.result() for answer in asked)
    assert first == second
    assert len(worked_out) == 1


@pytest.mark.parametrize(
    "harm", ["half", "text", "planted", "elsewhere", "other code", "other rows", "unfinished"]
)
def test_figures_that_may_be_wrong_are_worked_out_anew(
    harm: str, run: runs.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = Analysis(run).figures.summary
    file, worked_out = results.file(run.folder, results.FIGURES), counted(monkeypatch)
    if harm == "half":
        file.write_bytes(file.read_bytes()[:-200])
    elif harm == "text":
        file.write_bytes(gzip.compress(b"[1, 2"))
    elif harm == "planted":
        signature, _, text = gzip.decompress(file.read_bytes()).partition(b"\n")
        document = json.loads(text)
        document["summary"][0]["consistency"] = 0.987
        file.write_bytes(gzip.compress(signature + b"\n" + json.dumps(document).encode()))
    elif harm == "elsewhere":
        monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "of another installation"))
    elif harm == "other code":
        monkeypatch.setattr(analysis, "code_digest", lambda: "0")
    else:
        changes = {"content": "0"} if harm == "other rows" else {"status": runs.UNFINISHED}
        run = runs.Run(run.folder, replace(run.manifest, **changes), run.parts)
    assert Analysis(run).figures.summary == expected
    assert len(worked_out) == 1


@pytest.mark.parametrize("before", [True, False])
def test_a_process_that_ends_while_it_keeps_figures_leaves_the_old_ones_or_none(
    before: bool, run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, file = Analysis(run).figures.summary, results.file(run.folder, results.FIGURES)
    old = file.read_bytes()
    if not before:
        file.unlink()

    def half(path: Path, data: bytes) -> None:
        with path.open("wb") as opened:
            opened.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as ending:
        ending.setattr(analysis, "code_digest", lambda: "0")  # so that they are worked out anew
        ending.setattr(Path, "write_bytes", half)
        ending.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process clears nothing
        with pytest.raises(KeyboardInterrupt):
            _ = Analysis(run).figures
    assert len(list(run.folder.glob(f".{file.name}.*"))) == 1
    assert (file.read_bytes() == old) if before else not file.exists()
    worked_out = counted(monkeypatch)
    assert Analysis(run).figures.summary == expected
    assert len(worked_out) == (0 if before else 1)
    for path in run.folder.glob(f".{file.name}.*"):
        path.unlink()
