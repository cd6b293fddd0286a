"""The rules that keep the rooms apart and the records complete."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.repository import PAGES, ROOT
from robustness import attacks, metrics, models, perturbations, remedies
from robustness.base.registry import Registry
from robustness.images import decoding
from tests.support import shards

PRODUCT = [*sorted((ROOT / "robustness").rglob("*.py")), *PAGES]

ROOMS = (
    "pages",
    "ui",
    "__main__",
    "cli",
    "api",
    "gate",
    "report",
    "runs",
    "hardening",
    "matching",
    "statistics",
    "measure",
    "plugins",
    "datasets",
    "attacks",
    "models",
    "remedies",
    "perturbations",
    "images",
    "metrics",
    "base",
    "__init__",
)
"""From the top down: a room imports from those below it only. ``pages`` includes ``app.py``, and
``__init__`` is the package's own, which holds its version. A wing is named with its room."""

APART = {
    "metrics": {"perturbations", "models", "datasets"},
    "perturbations": {"models", "datasets"},
    "remedies": {"models", "datasets"},
}
"""Rooms that do not know each other, although one lies below the other."""

OPTIONAL = {
    "keras_hub": "requirements-hub.in",
    "mlflow": "requirements-mlflow.in",
    "ray": "requirements-ray.in",
}
"""Optional packages, and the file of requirements that asks for each."""

LATE = {
    "keras_hub": ["robustness/models/catalogue.py"],
    "mlflow": ["robustness/report/mlflow.py"],
    "ray": ["robustness/runs/ray.py"],
    "jinja2": [
        "robustness/report/formats.py",
        "robustness/report/maps.py",
        "robustness/ui/html.py",
    ],
}
"""What is optional, or slow to import and seldom needed, and the files that may import it: one,
or with templates one for the reports and one for the pages."""

HEAVY = {"tensorflow", "keras", "keras_hub"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of the code in ``path``."""
    return list(ast.walk(tree(path)))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(place: str) -> str:
    """The room, or the wing that has a place of its own in ``ROOMS``, of a path in the package."""
    parts = place.split("/")
    wing = "/".join(parts[:2])
    return wing if wing in ROOMS else parts[0]


def room(path: Path) -> str:
    """The room that a file of the product belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return room_of("/".join(parts[1:])) if parts[0] == "robustness" else "pages"


@cache
def imports(node: ast.AST) -> tuple[str, ...]:
    """Dotted names of everything imported within ``node``, at whatever depth."""
    found: list[str] = []
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            found += (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            found += (f"{child.module}.{alias.name}" for alias in child.names)
    return tuple(found)


@cache
def imported_files(path: Path) -> set[Path]:
    """The files of the product that ``path`` imports."""
    found = set()
    for name in imports(tree(path)):
        parts = name.split(".")
        while parts and parts[0] == "robustness":
            place = ROOT.joinpath(*parts)
            file = place.with_suffix(".py") if not place.is_dir() else place / "__init__.py"
            if file.is_file():
                found.add(file)
                break
            parts.pop()
    return found


def imported_rooms(path: Path) -> set[str]:
    return {room(file) for file in imported_files(path)} - {room(path)}


def third_parties(*nodes: ast.AST) -> set[str]:
    """Top-level packages from outside that are imported within ``nodes``."""
    names = {name.partition(".")[0] for node in nodes for name in imports(node)}
    return names - sys.stdlib_module_names - {"robustness"}


def faults(files: Iterable[Path], faulty: Callable[[Path], object]) -> list[str]:
    """The findings of ``faulty`` in each of ``files``, with their names."""
    return [f"{named(path)}: {found}" for path in files if (found := faulty(path))]


# --- rooms ----------------------------------------------------------------------------------------


def test_every_file_belongs_to_a_known_room() -> None:
    assert not faults(PRODUCT, lambda path: room(path) not in ROOMS)


def test_imports_point_down() -> None:
    def upwards(path: Path) -> set[str]:
        here = ROOMS.index(room(path))
        return {other for other in imported_rooms(path) if ROOMS.index(other) <= here}

    assert not faults(PRODUCT, upwards)
    assert not faults(PRODUCT, lambda path: imported_rooms(path) & APART.get(room(path), set()))


def test_no_files_import_each_other_in_a_circle() -> None:
    ahead: dict[Path, set[Path]] = {path: imported_files(path) - {path} for path in PRODUCT}
    while free := [path for path, needed in ahead.items() if not needed & ahead.keys()]:
        for path in free:
            del ahead[path]
    assert not [named(path) for path in ahead]


def test_benchmarks_need_no_tests() -> None:
    benchmarks = sorted((ROOT / "benchmarks").rglob("*.py"))
    assert benchmarks
    assert not faults(benchmarks, lambda path: {"tests", "pytest"} & third_parties(tree(path)))


def test_streamlit_stays_in_the_pages_and_their_kit() -> None:
    users = [path for path in PRODUCT if "streamlit" in third_parties(tree(path))]
    assert users
    assert not faults(users, lambda path: room(path) not in {"pages", "ui"})


def test_text_needs_no_plotly() -> None:
    users = [path for path in PRODUCT if "plotly" in third_parties(tree(path))]
    assert users
    assert not faults(users, lambda path: room(path) not in {"report", "ui"})


HANDS_OUT_TENSORFLOW = (
    "frameworks.py",
    "catalogue.py",
)
"""The files of ``models`` that import TensorFlow, Keras or KerasHub; others of it call these."""


def test_tensorflow_is_imported_late_and_behind_one_wall() -> None:
    models = ROOT / "robustness" / "models"
    wall = {models / file for file in HANDS_OUT_TENSORFLOW}
    users = [path for path in PRODUCT if third_parties(tree(path)) & HEAVY]
    assert users

    def early(path: Path) -> set[str]:
        return third_parties(*(node for node in tree(path).body if not _deferred(node))) & HEAVY

    assert not faults(users, early)
    others = [path for path in PRODUCT if path not in wall]
    assert not faults(others, lambda path: third_parties(tree(path)) & HEAVY)
    outside = [path for path in PRODUCT if models not in path.parents]
    hands_out = {f"robustness.models.frameworks.{name}" for name in HEAVY}
    assert not faults(outside, lambda path: hands_out & set(imports(tree(path))))


def test_what_is_optional_or_slow_is_imported_late_and_in_its_own_files() -> None:
    assert set(OPTIONAL) <= set(LATE)
    for package, own in LATE.items():
        users = [path for path in PRODUCT if package in third_parties(tree(path))]
        assert [named(path) for path in users] == own
        for path in users:
            top = third_parties(*(node for node in tree(path).body if not _deferred(node)))
            assert package not in top


def _deferred(node: ast.stmt) -> bool:
    """Whether nothing within ``node`` is run when its module is imported."""
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return for_types or isinstance(node, ast.FunctionDef | ast.ClassDef)


def test_only_the_limited_reader_parses_toml() -> None:
    parsing = [path for path in PRODUCT if "tomllib" in path.read_text(encoding="utf-8")]
    assert parsing == [ROOT / "robustness" / "base" / "toml.py"]


def test_percentages_are_written_by_the_function_that_rounds_them() -> None:
    """Of the rooms that show figures; what a browser writes in a chart rounds alike."""

    def formatted(path: Path) -> list[str]:
        return [
            ast.unparse(node)
            for node in nodes(path)
            if isinstance(node, ast.FormattedValue)
            and node.format_spec is not None
            and ast.unparse(node.format_spec).rstrip("'").endswith("%")
        ]

    rooms = ("cli", "gate", "report", "statistics", "ui")
    files = [path for path in PRODUCT if room(path).partition("/")[0] in rooms]
    assert not faults(files, formatted)


def test_endings_of_plurals_are_written_by_one_function() -> None:
    pattern = re.compile(r"""['"]e?s['"] (?:\*|if\b)|== 1 else ['"][a-z]+s['"]""")

    def endings(path: Path) -> list[str]:
        return pattern.findall(path.read_text(encoding="utf-8"))

    text = next(path for path in PRODUCT if path.match("base/text.py"))
    assert endings(text)
    assert not faults([path for path in PRODUCT if path != text], endings)


# --- forms ----------------------------------------------------------------------------------------


MASKS = {"attacks", "matching", "metrics", "perturbations", "remedies", "statistics"}
"""Rooms that multiply arrays by masks."""


def _is_truth(node: ast.expr) -> bool:
    """Whether ``node`` can only be true or false: a comparison, a negation, or ``bool(...)``."""
    if isinstance(node, ast.BoolOp):
        return any(_is_truth(part) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    if isinstance(node, ast.Call):
        return _name_of(node.func) == "bool"
    return isinstance(node, ast.Compare)


def _is_text_or_list(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp)


def _repeats_a_text(node: ast.expr) -> bool:
    """Whether ``node`` is a text that nobody repeats for its length, as one does with "-"."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and len(node.value) > 1
    return isinstance(node, ast.JoinedStr)


def times_a_truth_value(node: ast.AST, masks: bool) -> bool:
    """As in ``" (s)" * (n > 1)``; with ``masks`` arrays may be multiplied."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
        return False
    sides = (node.left, node.right)
    if any(_repeats_a_text(side) for side in sides):
        return True
    if masks and not any(_is_text_or_list(side) for side in sides):
        return False
    return any(_is_truth(side) for side in sides)


def nested_conditional(node: ast.AST, masks: bool) -> bool:
    """As in ``a if x else b if y else c``."""
    if not isinstance(node, ast.IfExp):
        return False
    return any(isinstance(part, ast.IfExp) for part in (node.test, node.body, node.orelse))


def loop_over_one_value(node: ast.AST, masks: bool) -> bool:
    """As in ``for x in [y]``, which only names ``y``."""
    if not isinstance(node, ast.comprehension | ast.For):
        return False
    if not isinstance(node.iter, ast.List | ast.Tuple) or len(node.iter.elts) != 1:
        return False
    return not isinstance(node.iter.elts[0], ast.Starred)


def call_of_a_conditional(node: ast.AST, masks: bool) -> bool:
    """As in ``(f if x else g)(a)``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.IfExp)


def literal_after_a_star(node: ast.AST, masks: bool) -> bool:
    """As in ``f(*(a, b))``, which is ``f(a, b)``."""
    return isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List)


def unrelated_assignments(node: ast.AST, masks: bool) -> bool:
    """As in ``a, b = 1, 2``; a swap, whose values read its targets, is one thing."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    values = node.value
    if any(isinstance(part, ast.Starred) for part in values.elts):
        return False

    def names(part: ast.expr) -> set[str]:
        """What ``part`` binds or reads: names, attributes and entries, as text."""
        kinds = (ast.Name, ast.Attribute, ast.Subscript)
        return {ast.unparse(each) for each in ast.walk(part) if isinstance(each, kinds)}

    for target in node.targets:
        if isinstance(target, ast.Tuple | ast.List) and len(target.elts) == len(values.elts):
            bound = {ast.unparse(part) for part in target.elts}
            if not bound & names(values):
                return True
    return False


CLEVER: dict[Callable[[ast.AST, bool], bool], tuple[str, ...]] = {
    literal_after_a_star: ("f(*(a, b))", "[*[a], b]"),
    unrelated_assignments: ("a, b = 1, 2", "a, b = x, f(y)"),
    times_a_truth_value: ('" (s)" * (n > 1)', "[a] * bool(a)", 'f" {a}" * a.graded'),
    nested_conditional: ("a if x else b if y else c", "(a if x else b) if y else c"),
    loop_over_one_value: ("[x for y in a for x in [f(y)]]", "[x for x in (y,)]"),
    call_of_a_conditional: ("(f if x else g)(a)",),
}
"""Forms that save a line and cost a reader, each with examples."""


@pytest.mark.parametrize("form", CLEVER, ids=lambda form: form.__name__)
def test_code_is_written_without_clever_forms(form: Callable[[ast.AST, bool], bool]) -> None:
    for example in CLEVER[form]:
        assert any(form(node, True) for node in ast.walk(ast.parse(example))), example

    def found(path: Path) -> list[str]:
        masks = room(path) in MASKS
        return [ast.unparse(node) for node in nodes(path) if form(node, masks)]

    assert not faults(PRODUCT, found)


def test_only_the_console_prints() -> None:
    """Else a failure of stdout would be taken for one of a file."""
    quiet = [path for path in PRODUCT if named(path) != "robustness/cli/console.py"]

    def printed(path: Path) -> set[str]:
        names = {node.id for node in nodes(path) if isinstance(node, ast.Name)}
        return names & {"print", "pprint", "breakpoint"}

    assert not faults(quiet, printed)


def test_a_page_draws_all_of_itself_within_its_boundary() -> None:
    def other(path: Path) -> list[str]:
        body = [
            node
            for node in _run_as_page(path)[1:]  # after the docstring
            if not isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
        ]
        return [ast.unparse(node) for node in body if body != [node] or not _is_page(node)]

    assert not faults(PAGES, other)


def _run_as_page(path: Path) -> list[ast.stmt]:
    """The code that a script runs to draw a page; ``app.py`` also sets up the server."""
    *before, last = tree(path).body
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        return [*before, *last.body]
    return [*before, last]


def _is_page(node: ast.stmt) -> bool:
    if not isinstance(node, ast.With):
        return False
    calls = [item.context_expr for item in node.items]
    return [ast.unparse(call.func) for call in calls if isinstance(call, ast.Call)] == ["page"]


def test_a_part_that_reruns_alone_has_the_boundary_of_a_page() -> None:
    users = [path for path in PRODUCT if room(path) in {"pages", "ui"}]

    def bare(path: Path) -> bool:
        dotted = (node for node in nodes(path) if isinstance(node, ast.Attribute))
        dotted = (node for node in dotted if node.attr == "fragment")
        return any(ast.unparse(node) == "st.fragment" for node in dotted)

    assert [named(path) for path in users if bare(path)] == ["robustness/ui/session.py"]


def test_the_pages_have_their_html_from_the_template_that_escapes_it() -> None:
    own = ROOT / "robustness" / "ui" / "html.py"
    drawing = [path for path in PRODUCT if room(path) in {"pages", "ui"} and path != own]
    safe = {
        node.name
        for path in [own, *drawing]
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef)
        and node.returns
        and ast.unparse(node.returns) == "Html"
    }
    assert {"html", "headline", "html_table", "card"} <= safe

    def made_by_hand(path: Path) -> list[str]:
        return [ast.unparse(node) for node in nodes(path) if _is_unescaped(node, safe)]

    assert not faults(drawing, made_by_hand)
    assert not faults(drawing, lambda path: "html.escape" in imports(tree(path)))


def _is_unescaped(node: ast.AST, safe: set[str]) -> bool:
    """Whether ``node`` holds a tag, or shows as HTML what no function among ``safe`` has made."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(re.search(r"</?[a-z]", node.value))
    if not isinstance(node, ast.Call):
        return False
    maker = _name_of(node.func)
    if maker == "Html" or any(word.arg == "unsafe_allow_html" for word in node.keywords):
        return True
    if not isinstance(node.func, ast.Attribute) or maker != "html":
        return False
    shown = ast.unparse(node.args[0]).partition("(")[0].rpartition(".")[2]
    return shown not in safe | {"_STYLE"}  # a file, which Streamlit reads by itself


def test_templates_read_fields_that_records_have() -> None:
    records: set[str] = set()
    for path in PRODUCT:
        for record in (node for node in tree(path).body if isinstance(node, ast.ClassDef)):
            for node in record.body:
                if isinstance(node, ast.FunctionDef):
                    records.add(node.name)
                elif isinstance(node, ast.AnnAssign):
                    records.add(ast.unparse(node.target))
    read = re.compile(r"\b[a-z_]+\.([a-z_]+)\b")

    def unknown(path: Path) -> set[str]:
        code = re.findall(r"{[{%](.*?)[%}]}", path.read_text(encoding="utf-8"), re.DOTALL)
        return set(read.findall(re.sub(r'"[^"]*"', "", " ".join(code)))) - records

    assert not faults(sorted((ROOT / "robustness").rglob("*.j2")), unknown)


# --- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", models.REGISTRY, ids=models.REGISTRY.names)
def test_a_model_record_is_complete(record: models.ModelRecord) -> None:
    assert all((record.label, record.family))
    assert record.group in {models.STUDY, models.OFFLINE, models.MODERN}
    assert 2010 < (record.year or 0) < 2030
    assert (record.parameters or 0) > 10**6
    assert len({name for name, _ in record.stages}) == len(record.stages) >= 5
    assert len(record.labels().names) == 1000
    weights = record.weights
    assert all((weights.source, weights.name, weights.remedy))
    if not weights.files:
        assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", weights.digest)
        assert re.fullmatch(r"https://\S+\.h5", weights.url) or (weights.size and not weights.url)
        assert weights.size is None or weights.size > 10**6
    else:
        assert re.search(r"/models/keras/\w+/keras/\w+/\d+/download/$", weights.url)
        assert weights.requires
        package, file = weights.requires
        assert OPTIONAL[package] == file.replace(".txt", ".in")


def test_other_records_say_what_they_are() -> None:
    texts = [
        *(
            (r.name, r.label, r.family, r.parameter, r.unit, r.source)
            for r in perturbations.REGISTRY
        ),
        *((r.name, r.label, r.subject, r.formula) for r in metrics.REGISTRY),
        *((r.name, r.label, r.alt, r.credit) for r in decoding.REGISTRY),
        *((r.name, r.label, r.formula, r.source) for r in attacks.REGISTRY),
        *((r.name, r.label) for r in attacks.NORMS),
        *((r.name, r.label, r.kind, r.against, r.source) for r in remedies.REGISTRY),
    ]
    for record in texts:
        assert all(text and text == text.strip() for text in record), record
    registries: tuple[Registry[Any], ...] = (
        *(models.REGISTRY, perturbations.REGISTRY, metrics.REGISTRY, decoding.REGISTRY),
        *(attacks.REGISTRY, attacks.NORMS, remedies.REGISTRY),
    )
    for registry in registries:
        assert len({record.label for record in registry}) == len(registry), "no label twice"


def _name_of(function: ast.expr) -> str:
    """The last name of what is called, as ``f`` of ``a.f(x)``."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def test_errors_name_options_of_a_command_in_their_hint_alone() -> None:
    elsewhere = [path for path in PRODUCT if room(path) != "cli"]

    def optional(path: Path) -> list[str]:
        return [
            str(part.value)
            for node in nodes(path)
            if isinstance(node, ast.Call) and _name_of(node.func).endswith("Error")
            for argument in node.args
            for part in ast.walk(argument)
            if isinstance(part, ast.Constant) and re.search(r"(?<![\w-])--[a-z]", str(part.value))
        ]

    assert optional(ROOT / "robustness" / "cli" / "console.py")
    assert not faults(elsewhere, optional)


# --- files ----------------------------------------------------------------------------------------


def test_the_shards_name_tests_that_exist() -> None:
    named = {*shards.LONG, *(path for group in shards.TOGETHER for path in group)}
    assert not [path for path in named if not (ROOT / path).exists()]


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone: there is no list of its files")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_tracked_files_hold_no_path_of_a_developer_and_no_package_index() -> None:
    slash = "/"  # the words are put together here, so that this file passes its own test
    folders = "|".join(("work", "home", "root", "Users"))
    forbidden = re.compile(
        rf"(?<![\w.~-]){slash}(?:{folders}){slash}"
        rf"|-{'-'}(?:extra-)?index-{'url'}|-{'-'}find-{'links'}|-{'-'}trusted-{'host'}"
        rf"|pypi\.{'org'}|python{'hosted'}\.org"
    )
    found = []
    for path in tracked():
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" not in data:
            for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
                if forbidden.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found


def requirements(name: str) -> set[str]:
    """Names of the distributions that a requirements file asks for."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    matches = (re.match(r"[\w.-]+", line) for line in lines if not line.startswith(("#", "-")))
    return {normal(match[0]) for match in matches if match}


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


WITH_TENSORFLOW = "keras"
"""Comes with TensorFlow, in the version that belongs to it: asking for it would be a second pin."""


def located(paths: list[Path]) -> set[str]:
    """Packages whose files are used without importing them: ``find_spec("...")``."""
    calls = (n for path in paths for n in nodes(path) if isinstance(n, ast.Call))
    return {
        str(call.args[0].value)
        for call in calls
        if _name_of(call.func) == "find_spec" and isinstance(call.args[0], ast.Constant)
    }


def test_what_is_imported_is_required_and_what_is_required_is_used() -> None:
    direct = requirements("requirements.in")
    providers = packages_distributions()
    used = set()
    named = third_parties(*map(tree, PRODUCT)) | located(PRODUCT)
    for name in named - {WITH_TENSORFLOW, *OPTIONAL}:
        candidates = {normal(distribution) for distribution in providers.get(name, [name])}
        assert candidates & direct, f"{name} is imported but requirements.in does not ask for it"
        used |= candidates & direct
    used |= {normal(requirement.partition("==")[0]) for requirement in carriers()}
    assert direct == used


def carriers() -> set[str]:
    """Requirements that contain a model's weights."""
    return {record.weights.requirement for record in models.REGISTRY} - {""}


def test_carriers_are_pinned_to_the_version_whose_hash_is_known() -> None:
    wanted = carriers()
    assert wanted
    for name in ("requirements.in", "requirements.txt", "requirements-dev.txt"):
        lines = {line.split()[0] for line in (ROOT / name).read_text().splitlines() if line.strip()}
        assert wanted <= lines, name


def test_what_is_required_is_pinned() -> None:
    direct = requirements("requirements.in")
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#", "-"))]
        assert all("==" in line for line in pins), name
        assert direct <= {normal(line.partition("==")[0]) for line in pins}, name
