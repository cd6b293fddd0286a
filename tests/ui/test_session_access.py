"""What the pages let whom do: who is who, and that a click is checked where it acts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.base.errors import AccessError
from robustness.base.roles import Action, Role, Who
from robustness.measure.condition import Condition
from robustness.runs import audit, jobs, manifest
from robustness.runs.jobs import Job
from robustness.runs.task import Progress, ProgressFile
from robustness.ui import jobs as under_way
from robustness.ui import session
from robustness.ui.live.held import Tickets
from robustness.ui.live.request import LiveRequest
from robustness.ui.session import Connection, is_local
from tests.support.jobs import training_of
from tests.support.pages import run, sample
from tests.support.saved_runs import performed, spec, use_stand_ins

RUNS = ROOT / "pages" / "evaluations.py"
ELSEWHERE = Connection("192.0.2.7", {"host": "dashboard.example"}, {session.COOKIE: "secret"})
MINE, OTHERS = "mine", "others"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        patch.setattr(session, "connection", lambda: ELSEWHERE)
        folder = performed("samples", root / "runs", spec()).folder
        shutil.copytree(folder, root / "runs" / MINE)
        folder.rename(root / "runs" / OTHERS)
        for name, creator in ((MINE, session._browser(ELSEWHERE)), (OTHERS, "bob@example.org")):
            copy = root / "runs" / name
            manifest.read(copy).updated(id=name, creator=creator).write(copy)
    return root / "runs"


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUSTNESS_OPERATOR_CONTACT", "op@example.org")
    return tmp_path / "runs"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "connection", lambda: ELSEWHERE)


def logged(folder: Path) -> list[tuple[str, str, bool]]:
    """(action, thing, allowed) of the lines of the audit log."""
    path = folder / audit.FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(line["action"], line["thing"], line["allowed"]) for line in lines]


def click_delete(app: AppTest, name: str) -> AppTest:
    app.checkbox(key=f"sure {name}").check().run()
    return app.button(key=f"delete {name}").click().run()


def force_click(app: AppTest, key: str) -> None:
    """Click on the disabled button ``key``, as a forged message does."""
    button = app.button(key=key)
    assert button.disabled
    button.proto.disabled = False
    button.click().run()


# --- who is who -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "headers", "local"),
    [
        ("127.0.0.1", {"host": "localhost:8501", "origin": "http://localhost:8501"}, True),
        ("::1", {"host": "[::1]:8501"}, True),
        ("127.0.0.2", {"host": "127.0.0.1"}, True),
        ("::ffff:127.0.0.1", {"host": "localhost"}, True),
        ("192.0.2.7", {"host": "localhost"}, False),
        ("", {"host": "localhost"}, False),
        ("127.0.0.1", {"host": "dashboard.example"}, False),
        ("127.0.0.1", {"host": "localhost.evil.example"}, False),
        ("127.0.0.1", {"host": "localhost", "origin": "https://dashboard.example"}, False),
        ("127.0.0.1", {"host": "localhost", "origin": "null"}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "http://localhost:9999"}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "http://localhost"}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "https://localhost:8501"}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "http://127.0.0.1:8501"}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "http://["}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "file://localhost:8501"}, False),
        ("127.0.0.1", {"host": "localhost:8501", "origin": "http://me@localhost:8501"}, False),
        ("127.0.0.1", {"host": "localhost:80", "origin": "http://LOCALHOST"}, True),
        *(("127.0.0.1", {"host": "localhost", name: "x"}, False) for name in session.FORWARDED),
    ],
)
def test_who_comes_from_this_machine(address: str, headers: dict[str, str], local: bool) -> None:
    assert is_local(Connection(address, headers, {})) == local


def whoami(said: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> Who:
    monkeypatch.setattr("streamlit.user_info.UserInfoProxy.to_dict", lambda self: said)
    return session.who()


@pytest.mark.parametrize("unverified", [None, False, "false", 1, "yes"])
def test_only_a_verified_address_is_a_name(
    elsewhere: None, monkeypatch: pytest.MonkeyPatch, unverified: object
) -> None:
    said = {"is_logged_in": True, "email": "Ada@Example.org", "email_verified": True}
    assert whoami(said, monkeypatch) == Who("ada@example.org", logged_in=True)
    for changed in (
        {"email_verified": unverified},
        {"is_logged_in": False},
        {"email": None},
        {"email": "x@a@b"},
    ):
        found = whoami({**said, **changed}, monkeypatch)
        assert not found.logged_in
        assert found.name.startswith("browser-")


def test_a_browser_keeps_its_name_and_another_cannot_tell_its_cookie(elsewhere: None) -> None:
    assert session.me() == session.me()
    assert "secret" not in session.me()
    assert session.me() != session._browser(Connection("192.0.2.7", {}, {session.COOKIE: "other"}))


# --- the pages ------------------------------------------------------------------------------------


def test_somebody_else_deletes_and_renames_their_own_runs_alone(
    folder: Path, elsewhere: None
) -> None:
    app = run(RUNS, run=OTHERS)
    app.checkbox(key=f"sure {OTHERS}").check().run()
    for what in ("delete", "rename"):
        assert app.button(key=f"{what} {OTHERS}").disabled
        assert "ask op@example.org" in app.button(key=f"{what} {OTHERS}").help
    assert any("delete this run" in caption.value for caption in app.caption)
    assert not logged(folder)
    app = run(RUNS, run=MINE)
    app.text_input(key=f"title {MINE}").set_value("Renamed")
    app.button(key=f"rename {MINE}").click().run()
    click_delete(app, MINE)
    assert not app.exception
    assert not app.error
    assert [entry.folder.name for entry in runs.listing(folder)] == [OTHERS]
    assert logged(folder) == [("rename", MINE, True), ("delete", MINE, True)]
    app.button(key=f"restore {MINE}").click().run()
    assert {entry.folder.name for entry in runs.listing(folder)} == {MINE, OTHERS}


def test_what_a_click_calls_is_checked_whatever_the_button_was(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "allowed", lambda *_, key=None, **__: {"key": key})
    app = run(RUNS, run=OTHERS)
    click_delete(app, OTHERS)
    assert not app.exception
    assert "You may not delete this run" in app.error[0].value.replace("\\", "")
    app.button(key=f"rename {OTHERS}").click().run()
    assert "You may not rename this run" in app.error[0].value.replace("\\", "")
    assert {entry.folder.name for entry in runs.listing(folder)} == {MINE, OTHERS}
    assert logged(folder) == [("delete", OTHERS, False), ("rename", OTHERS, False)]


def test_a_click_on_a_button_that_is_disabled_is_logged_once(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = run(RUNS, run=OTHERS)
    app.checkbox(key=f"sure {OTHERS}").check().run()
    force_click(app, f"rename {OTHERS}")
    force_click(app, f"delete {OTHERS}")
    app.run()
    first = (folder / audit.FILE).read_text().splitlines()[0]
    assert json.loads(first)["who"] == session._browser(ELSEWHERE)
    assert logged(folder) == [("rename", OTHERS, False), ("delete", OTHERS, False)]
    assert len(runs.listing(folder)) == 2
    app = run(RUNS, run=MINE)
    app.text_input(key=f"title {MINE}").set_value("Renamed")
    app.button(key=f"rename {MINE}").click()
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "viewer")  # since the button was drawn
    app.run()
    assert "You may not rename this run" in app.error[0].value.replace("\\", "")
    app = run(RUNS, question="compare")
    force_click(app, "evaluate")
    assert not app.exception
    assert logged(folder)[2:] == [("rename", MINE, False), ("evaluate", "", False)]
    assert len(runs.listing(folder)) == 2


def test_nobody_brings_back_what_is_not_theirs(folder: Path, elsewhere: None) -> None:
    runs.to_bin(folder / OTHERS)
    app = run(RUNS)
    assert not [button for button in app.button if str(button.key).startswith("restore")]


def test_a_viewer_evaluates_continues_and_cancels_nothing(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = manifest.read(folder / MINE)
    begun.updated(status=runs.UNFINISHED, parts={}).write(folder / MINE)
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "viewer")
    monkeypatch.setattr(session, "allowed", lambda *_, key=None, **__: {"key": key})
    monkeypatch.setattr("robustness.runs.jobs.resume", lambda *_: pytest.fail("went on"))
    monkeypatch.setattr("robustness.runs.jobs.cancel", lambda *_: pytest.fail("cancelled"))
    app = run(RUNS, run=MINE)
    app.button(key=f"page Continue {MINE}").click().run()
    assert "You may not start or continue an evaluation" in app.error[0].value.replace("\\", "")
    job = Job(by="somebody", asked=0.0, run=MINE)
    monkeypatch.setattr("robustness.runs.jobs.is_queued", lambda _: True)
    monkeypatch.setattr("robustness.runs.jobs.read_queue", lambda _: [job])
    app.run()
    app.button(key=f"page Cancel {MINE}").click().run()
    assert "You may not cancel an evaluation" in app.error[0].value.replace("\\", "")
    app = run(RUNS, question="compare")
    app.button(key="evaluate").click().run()
    assert "You may not start or continue an evaluation" in app.error[0].value.replace("\\", "")
    assert not app.exception
    assert [action for action, _, allowed in logged(folder) if not allowed] == [
        "evaluate",
        "cancel",
        "evaluate",
    ]
    assert len(runs.listing(folder)) == 2


def test_a_run_that_one_starts_is_ones_own(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustness.runs.jobs.supervise", lambda _: None)  # nobody works on it here
    app = run(RUNS, question="compare")
    app.button(key="evaluate").click().run()
    assert not app.exception
    (made,) = {entry.folder.name for entry in runs.listing(folder)} - {MINE, OTHERS}
    assert runs.owner_of(folder / made) == session._browser(ELSEWHERE)
    assert ("evaluate", "bundled samples", True) in logged(folder)


def test_a_browser_has_so_many_jobs_waiting_and_an_owner_any_number(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustness.runs.jobs.supervise", lambda _: None)  # nobody works on it here

    def submit(count: int, first: int) -> None:
        under_way.submit([runs.plan("samples", spec(seed=first + at)) for at in range(count)])

    submit(1, 100)
    with pytest.raises(AccessError, match=r"at most 3 jobs .* got 5: .* ask op@example.org"):
        submit(4, 110)
    assert len(jobs.read_queue(folder)) == 1, "all of a request, or nothing"
    submit(2, 101)
    with pytest.raises(AccessError, match="got 4"):
        submit(1, 200)
    begun = manifest.read(folder / MINE)
    begun.updated(status=runs.UNFINISHED, parts={}).write(folder / MINE)
    app = run(RUNS, run=MINE)
    app.button(key=f"page Continue {MINE}").click().run()
    assert "at most 3 jobs" in app.error[0].value.replace("\\", "")
    assert len(jobs.read_queue(folder)) == 3
    ProgressFile(folder / jobs.read_queue(folder)[0].run, 5).write(Progress(0, 5, 0))
    submit(1, 200)  # one has begun
    with monkeypatch.context() as patch:
        other = Connection("192.0.2.8", {"host": "dashboard.example"}, {session.COOKIE: "other"})
        patch.setattr(session, "connection", lambda: other)
        submit(3, 300)
    monkeypatch.setenv("ROBUSTNESS_WAITING_LIMIT", "5")
    submit(2, 400)
    with pytest.raises(AccessError, match="got 6"):
        submit(1, 500)
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "owner")
    submit(9, 500)


def test_so_many_jobs_wait_of_all_users_together_and_owners_are_no_exception(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustness.runs.jobs.supervise", lambda _: None)  # nobody works on it here
    monkeypatch.setenv("ROBUSTNESS_QUEUE_LIMIT", "4")

    def submit(visitor: str, seed: int) -> None:
        browser = Connection("192.0.2.8", {"host": "dashboard.example"}, {session.COOKIE: visitor})
        with monkeypatch.context() as patch:
            patch.setattr(session, "connection", lambda: browser)
            under_way.submit([runs.plan("samples", spec(seed=seed))])

    for seed, visitor in enumerate(("one", "two", "three", "four")):
        submit(visitor, 100 + seed)
    full = r"at most 4 jobs of all users to wait, got 5: .* ask op@example.org"
    with pytest.raises(AccessError, match=full):
        submit("five", 104)
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "owner")
    with pytest.raises(AccessError, match=full):
        submit("one", 104)
    with pytest.raises(AccessError, match=full):
        under_way.submit([training_of(folder / MINE)])
    assert len(jobs.read_queue(folder)) == 4
    jobs.cancel(folder / jobs.read_queue(folder)[0].run)
    submit("one", 104)


def test_a_training_is_cancelled_by_whoever_started_it_and_by_an_owner(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bobs = jobs.submit(training_of(folder / MINE), folder, "bob@example.org")
    force_click(run(ROOT / "pages" / "models.py"), f"sidebar Cancel {bobs.name}")
    with pytest.raises(AccessError, match="You may not cancel this training: it is not yours"):
        under_way.require_cancel(bobs)
    click_delete(run(RUNS, run=MINE), MINE)
    assert jobs.is_queued(bobs), "deleting one's run cancels nobody's training"
    with monkeypatch.context() as patch:
        patch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "owner")
        under_way.require_cancel(bobs)
    jobs.cancel(bobs)
    own = jobs.submit(training_of(folder / MINE), folder, session.me())
    run(ROOT / "pages" / "models.py").button(key=f"sidebar Cancel {own.name}").click().run()
    assert not jobs.is_queued(own)


def test_only_who_may_add_models_sees_a_training(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = jobs.submit(training_of(folder / MINE), folder, "bob@example.org").name
    app = run(RUNS, run=training)
    assert "You may not add or remove models" in app.info[0].value.replace("\\", "")
    assert training not in set(run(RUNS).dataframe[0].value["Id"])
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "owner")
    assert not run(RUNS, run=training).info
    table = run(RUNS).dataframe[0].value.set_index("Id")
    assert "training" in str(table.loc[training, "State"])


def test_a_viewer_attacks_nothing(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "viewer")
    app = run(view="attack")
    assert [error.value.replace("\\", "").partition(":")[0] for error in app.error] == [
        "You may not attack models"
    ]
    assert not app.selectbox


@pytest.mark.parametrize("page", ["app.py", "pages/evaluations.py"])
def test_who_has_no_role_sees_nothing_but_whom_to_ask(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "none")
    app = run(ROOT / page)
    (error,) = app.error
    assert all(said in error.value for said in ("may not look", "viewer", "op@"))
    assert not app.button
    assert not app.header


def test_behind_a_login_one_is_asked_to_log_in_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_LOGIN", "on")
    app = run(RUNS)
    assert [str(button.key) for button in app.button] == ["log in"]
    app.button(key="log in").click().run()
    assert not app.exception
    assert "a valid table [auth]" in app.error[0].value.replace("\\", "")


def test_a_login_without_a_verified_address_sees_nothing_but_whom_to_ask(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the address would be allowed."""
    monkeypatch.setenv("ROBUSTNESS_LOGIN", "on")
    monkeypatch.setenv("ROBUSTNESS_EVALUATORS", "ada@example.org")
    assert not whoami(
        {"is_logged_in": True, "email": "ada@example.org", "email_verified": False}, monkeypatch
    ).logged_in
    app = run(RUNS)
    (error,) = app.error
    assert all(said in error.value for said in ("has verified", "op@"))
    assert [str(button.key) for button in app.button] == ["log out"]
    assert not app.header


# --- beside the pages -----------------------------------------------------------------------------


def test_a_ticket_is_good_as_long_as_its_holder_may_do_it(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets, thing = Tickets(), LiveRequest(sample("coffee"), Condition.of({}), (), 0)
    ticket, cookies = tickets.give(thing), ELSEWHERE.cookies
    assert tickets.get(ticket, cookies) == thing
    assert tickets.get(ticket, cookies, Action.UPLOAD) == thing
    assert tickets.get("another", cookies) is None
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "viewer")
    assert tickets.get(ticket, cookies) == thing
    with pytest.raises(AccessError, match="You may not upload images"):
        tickets.get(ticket, cookies, Action.UPLOAD)
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "none")
    with pytest.raises(AccessError, match="You may not measure images"):
        tickets.get(ticket, cookies)
    with pytest.raises(AccessError, match="You may not measure images"):
        tickets.give(thing)
    assert session.role() is Role.NONE
