"""The names that others rely on stay: keys of JSON, headers of CSV, keys of TOML, links and pages.

Records are written by the names of their fields, so a renamed field renames output. After an
intended change, write ``frozen_keys.json`` anew: ``python -m tests.test_frozen_keys``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import robustness as rb
from benchmarks.support.repository import PAGES, ROOT
from robustness import attacks, metrics, models, perturbations, remedies
from robustness.base.options import fields_of
from robustness.cli import main
from robustness.measure.options import RunOptions
from robustness.report.run import REGISTRY as QUESTIONS
from tests.support import onnx_files
from tests.support.user_models import describe

FROZEN = Path(__file__).with_suffix("").parent / "frozen_keys.json"
GOLDEN = ROOT / "tests" / "runs" / "golden"
NAMES = {"digits"} | {
    name
    for registry in (models, perturbations, metrics, attacks, remedies)
    for name in registry.REGISTRY.names
}
"""Keys that are values: a ``*`` stands for them."""

IN_LINK = ("one_of", "listed", "keep_in_link", "new_in_link", "set_in_link")
"""Functions of the pages whose key is a parameter of links."""

SOFTMAX = onnx_files.node("Softmax", ["answer"], ["p"], axis=1)
BUDGET = '[[limit]]\nmin_consistency = 0.5\n[[limit]]\nperturbation = "*"\nmin_accuracy = 0.1\n'


def paths(value: Any, above: str = "") -> Iterator[str]:
    """The keys within ``value``, which JSON could hold, as ``entries[].name``."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            is_value = key.split("+")[0] in NAMES or key.endswith(".parquet")
            path = f"{above}.{'*' if is_value else key}".lstrip(".")
            yield path
            yield from paths(entry, path)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from paths(entry, f"{above}[]")


def unique(keys: Iterable[str]) -> list[str]:
    return sorted(set(keys))


# --- commands and Python ------------------------------------------------------------------------


def printed(*words: str) -> Any:
    """The JSON that a command prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main.main([*words, "--json"])
    assert status in (0, 1), words
    return json.loads(output.getvalue())


def commands(folder: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Each command that prints JSON, with its keys, in the empty working directory ``folder``."""
    for name in ("labelled", "twin"):
        shutil.copytree(GOLDEN / "labelled", folder / "runs" / name)
    (folder / "budget.toml").write_text(BUDGET)
    (folder / "digits.onnx").write_bytes(onnx_files.small_model(after=[SOFTMAX], last="p"))
    describe(folder, path="digits.onnx")
    one = "--models digits --remedies median"
    for line in (
        "models",
        "models check digits",
        "perturbations",
        "remedies",
        "plugins",
        f"predict sample:coffee {one.partition(' --r')[0]}",
        f"study sample:coffee {one} --perturbations fog",
        f"sweep sample:coffee {one} --perturbation fog",
        f"evaluate samples {one} --conditions fog=0.6 --limit 1 --out own",
        "export samples --conditions fog=0.6 --limit 1 --to exported",
        "choose labelled",
        "choose labelled --remedies",
        "failures labelled",
        "failures labelled --where model=SqueezeNet",
        "check labelled --budget budget.toml",
        "runs",
        "runs compare labelled twin",
    ):
        yield line, paths(printed(*line.split()))


def written(folder: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """The headers of tables, and the keys of the report as JSON."""
    for suffix in (".json", ".csv"):
        rb.open_run(folder / "runs" / "labelled").report(folder / f"labelled{suffix}")
        for output in sorted(folder.glob(f"labelled*{suffix}")):
            text = output.read_text()
            keys = paths(json.loads(text)) if suffix == ".json" else header(text)
            yield f"report {output.name}", keys
    yield "export images.csv", header((folder / "exported" / "images.csv").read_text())


def header(text: str) -> list[str]:
    return text.splitlines()[0].split(",")


def results(folder: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """The columns and keys of what Python returns."""
    run = rb.open_run(folder / "runs" / "labelled")
    yield "frame", run.frame().columns
    yield "summary", run.summary().columns
    yield "by_condition", run.by_condition().columns
    yield "rb.failures", paths(rb.failures(run).as_dict())


# --- files of people ----------------------------------------------------------------------------


def tables() -> Iterator[tuple[str, Iterable[str]]]:
    """The keys of TOML files."""
    from robustness.gate import budget
    from robustness.measure import condition, domain, request
    from robustness.models import own

    for kind, classes in {
        "request": (
            request.RequestTable,
            condition._AttackTable,
            condition._WrittenAttack,
        ),
        "domain": (domain._DomainTable, domain._RangeTable),
        "stored condition": (condition.StoredTable,),
        "gate": (budget._File, budget.Rule),
        "models": (
            own.ModelTable,
            own.VariantTable,
            own._Scaling,
            own._Check,
        ),
    }.items():
        yield kind, [key for table in classes for key in table.key_names()]


# --- pages --------------------------------------------------------------------------------------

STATE = {"get", "pop", "setdefault", "get_all"}


def page_keys() -> Iterator[tuple[str, Iterable[str]]]:
    """The keys of links, of the session with its controls, and of what our components are given.

    They are read from the code: each literal or constant that is used as a key, by a page or by
    the questions and blocks that it draws.
    """
    from robustness.ui.components import Answers, _records
    from robustness.ui.live.stack import StackStep

    found: dict[str, set[str]] = {"link": set(), "session": set(), "component": set()}
    found["component"] |= {
        *Answers._fields,
        *_records()[0],
        *(each.name for each in fields(StackStep)),
    }
    for path in [*sorted((ROOT / "robustness" / "ui").rglob("*.py")), *PAGES]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scope = names_of(path, tree)
        for node in ast.walk(tree):
            for kind, key in keys_in(node, scope):
                found[kind].update(texts(key, scope))
    controls = {field.key for q in QUESTIONS for field in q.fields.values()}
    for field in fields_of(RunOptions).values():
        if field.option.label:
            controls.add(field.key)
    for path in (ROOT / "robustness" / "report").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scope = names_of(path, tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Chooser":
                controls.update(texts(node.args[1], scope))
    for kind in ("link", "session"):
        found[kind] |= controls
    yield from found.items()


def names_of(path: Path, tree: ast.Module) -> dict[str, Any]:
    """The names that the module at ``path`` knows; scripts of pages are not imported."""
    if path not in PAGES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        return vars(importlib.import_module(".".join(parts).removesuffix(".__init__")))
    scope: dict[str, Any] = {}
    imports: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(imports, []), path.name, "exec"), scope)
    return scope


def keys_in(node: ast.AST, scope: dict[str, Any]) -> Iterator[tuple[str, ast.expr]]:
    """The expressions of ``node`` that are keys, with their kind."""
    if isinstance(node, ast.Subscript) and (kind := state(node.value)):
        yield kind, node.slice
    if isinstance(node, ast.Compare) and (kind := state(node.comparators[0])):
        yield kind, node.left
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and node.args and (kind := state(node.func.value)):
        first = node.args[0]
        if node.func.attr in STATE:
            yield kind, first
        elif isinstance(first, ast.Dict):
            yield from ((kind, key) for key in first.keys if key)
        return
    called = value_of(node.func, scope)
    words = {word.arg: word.value for word in node.keywords}
    if (getattr(called, "__module__", None) or "").startswith("robustness.ui"):
        with contextlib.suppress(TypeError, ValueError):
            names = list(inspect.signature(called).parameters)
            words |= dict(zip(names, node.args, strict=False))
    if "key" in words:
        yield "session", words["key"]
        if ast.unparse(node.func).rpartition(".")[2] in IN_LINK:
            yield "link", words["key"]
    if words.get("bind") is not None and "key" in words:
        yield "link", words["key"]
    data = words.get("data") or next(iter(node.args), None)
    if ("data" in words or ast.unparse(node.func).endswith("pack")) and isinstance(data, ast.Dict):
        yield from (("component", key) for key in data.keys if key)


def state(node: ast.expr) -> str:
    name = ast.unparse(node)
    if name.endswith("query_params"):
        return "link"
    return "session" if name in ("st.session_state", "state") else ""


def value_of(node: ast.expr, scope: dict[str, Any]) -> Any:
    if any(isinstance(part, ast.Call) for part in ast.walk(node)):
        return None
    try:
        return eval(compile(ast.Expression(node), "key", "eval"), scope)
    except Exception:
        return None


def texts(node: ast.expr, scope: dict[str, Any]) -> Iterator[str]:
    """The keys that ``node`` may be; ``*`` stands for a part known only at run time."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
        text = "".join(map(str, parts))
        if any(map(str.isalpha, text)):
            yield text
    elif isinstance(node, ast.Constant | ast.Name | ast.Attribute):
        value = value_of(node, scope)
        if isinstance(value, str):
            yield value


KINDS: Mapping[str, Callable[[Path], Iterable[tuple[str, Iterable[str]]]]] = {
    "commands": commands,
    "files": written,
    "python": results,
    "toml": lambda folder: tables(),
    "pages": lambda folder: page_keys(),
}


def keys(folder: Path) -> dict[str, dict[str, list[str]]]:
    """All keys, by kind and by what has them; ``folder`` is empty."""
    return {
        kind: {name: unique(map(str, found)) for name, found in collect(folder)}
        for kind, collect in KINDS.items()
    }


def lacking(some: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The keys of ``some`` that ``others`` lacks, each with what has it."""
    return [
        f"{name}: {key}"
        for kind, entries in some.items()
        for name, found in entries.items()
        for key in found
        if key not in others[kind].get(name, ())
    ]


def test_keys_are_as_others_know_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNESS_MODELS", "models.toml")
    expected = json.loads(FROZEN.read_text())
    actual = keys(tmp_path)
    assert actual.keys() == expected.keys()
    lost, new = lacking(expected, actual), lacking(actual, expected)
    assert not lost, f"renamed or lost: {lost}, new: {new}"
    assert not new, f"new, write them down as the docstring says: {new}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        os.environ["ROBUSTNESS_MODELS"] = "models.toml"
        FROZEN.write_text(json.dumps(keys(Path(empty)), indent=1) + "\n")
