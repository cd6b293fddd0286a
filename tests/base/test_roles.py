"""Who may do what: every action by every role, with and without a login, read-only or not."""

from __future__ import annotations

from itertools import product

import pytest

from robustness.base.errors import AccessError
from robustness.base.roles import Action, Policy, Role, Who, check, policy

MINE, OTHERS, NOBODYS = "ada@example.org", "bob@example.org", ""
THINGS = (MINE, OTHERS, NOBODYS)

# Of each action: who may have it done to a thing of their own, to others' and nobody's, and
# whether nobody may where nothing that is kept is changed.
TABLE = {
    Action.LOOK: ("VEO", "VEO", False),
    Action.MEASURE: ("VEO", "VEO", False),
    Action.ATTACK: ("EO", "EO", False),
    Action.UPLOAD: ("EO", "EO", False),
    Action.SHARE: ("EO", "EO", True),
    Action.UNSHARE: ("EO", "O", True),
    Action.EVALUATE: ("EO", "EO", True),
    Action.CANCEL: ("EO", "EO", False),
    Action.CANCEL_TRAINING: ("EO", "O", False),
    Action.RENAME: ("EO", "O", True),
    Action.LIMIT: ("EO", "O", True),
    Action.DELETE: ("EO", "O", True),
    Action.RESTORE: ("EO", "O", True),
    Action.PIN: ("O", "O", True),
    Action.DOWNLOAD_WEIGHTS: ("O", "O", True),
    Action.CHANGE_MODELS: ("O", "O", True),
}
LETTERS = {Role.NONE: "N", Role.VIEWER: "V", Role.EVALUATOR: "E", Role.OWNER: "O"}


def may(action: Action, who: Who, owner: str, policy: Policy) -> bool:
    try:
        check(action, who, owner, policy)
    except AccessError as error:
        said = str(error)
        assert said.startswith(f"You may not {action.value}: ")
        assert said.endswith("; ask op@example.org.")
        assert "\n" not in said
        return False
    return True


def settled(role: Role, *, login: bool, read_only: bool) -> tuple[Policy, Who]:
    """A policy under which the one who asks has ``role``, as a login or their place gives it."""
    policy = Policy(login=login, read_only=read_only, contact="op@example.org")
    if not login:
        return Policy(**{**vars(policy), "anonymous_role": role}), Who(MINE)
    lists = {Role.VIEWER: "viewers", Role.EVALUATOR: "evaluators", Role.OWNER: "owners"}
    named = {lists[role]: (MINE,)} if role else {}
    return Policy(**{**vars(policy), **named}), Who(MINE, logged_in=True)


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_every_role_may_do_what_the_table_says(action: Action) -> None:
    own, others, not_read_only = TABLE[action]
    unnamed = Policy(contact="op@example.org")
    assert may(action, Who(""), NOBODYS, unnamed) == ("E" in others), "no name owns nothing"
    for role, login, read_only, owner in product(Role, (False, True), (False, True), THINGS):
        policy, who = settled(role, login=login, read_only=read_only)
        expected = LETTERS[role] in (own if owner == MINE else others)
        expected = expected and not (read_only and not_read_only)
        assert may(action, who, owner, policy) == expected, (role, login, read_only, owner)


def test_where_one_sits_gives_a_role_only_while_nobody_logs_in() -> None:
    here, elsewhere = Who("browser-1", local=True), Who("browser-2")
    assert Policy().role(here) is Role.OWNER
    assert Policy().role(elsewhere) is Role.EVALUATOR
    behind = Policy(login=True, anonymous_role=Role.NONE)
    assert behind.role(here) is behind.role(elsewhere) is Role.NONE


@pytest.mark.parametrize("shared", ["hosts", "login"])
def test_where_others_are_expected_nobody_is_an_owner_by_place(
    shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarded port makes everybody local."""
    here, elsewhere = Who("browser-1", local=True), Who("browser-2")
    assert policy().role(here) is Role.OWNER
    value = {"hosts": "dashboard.example", "login": "on"}[shared]
    monkeypatch.setenv(f"ROBUSTNESS_{shared.upper()}", value)
    assert policy().role(here) is policy().role(elsewhere) < Role.OWNER
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "owner")
    assert policy().role(here) is policy().role(elsewhere)
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "none")
    assert policy().role(here) is Role.NONE, "less is always possible"
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "none")
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "evaluator")
    assert policy().role(here) is Role.NONE, "no more than others"
    monkeypatch.delenv("ROBUSTNESS_ANONYMOUS_ROLE")
    monkeypatch.delenv("ROBUSTNESS_LOCAL_ROLE")
    monkeypatch.setenv("ROBUSTNESS_LOCAL_OWNER", "on")
    assert policy().role(here) is Role.OWNER
    assert policy().role(elsewhere) < Role.OWNER


def test_a_name_is_on_a_list_only_by_a_login() -> None:
    listed = Policy(login=True, owners=("Ada@Example.org",), anonymous_role=Role.NONE)
    assert listed.role(Who(MINE, logged_in=True)) is Role.OWNER
    assert listed.role(Who(MINE)) is Role.NONE
    assert Policy(owners=(MINE,)).role(Who(MINE, logged_in=True)) is Role.EVALUATOR


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("weiss@lab.example", Role.OWNER),
        ("WEISS@LAB.EXAMPLE", Role.OWNER),
        ("kate@lab.example", Role.VIEWER),  # of the domain
        ("wei\u017fs@lab.example", Role.VIEWER),  # with a long s; nor is the Kelvin sign a K
        ("weiss@\u212aab.example", Role.NONE),
        (" weiss@lab.example", Role.VIEWER),
        ("weiss@sub.lab.example", Role.NONE),
        ("weiss@evil-lab.example", Role.NONE),
        ("weiss@lab.example@evil.example", Role.NONE),
        ("x@evil.example@lab.example", Role.NONE),
        ("weiss@@lab.example", Role.NONE),
        ("@lab.example", Role.NONE),
        ("lab.example", Role.NONE),
        ("", Role.NONE),
    ],
)
def test_an_address_is_that_address_and_a_domain_that_domain_alone(
    address: str, role: Role
) -> None:
    owners, viewers = ("Weiss@lab.example",), ("*@lab.example", "*@@lab.example", "*@")
    policy = Policy(login=True, owners=owners, viewers=viewers)
    assert policy.role(Who(address, logged_in=True)) is role


def test_the_highest_of_several_roles_counts() -> None:
    policy = Policy(login=True, viewers=("*@example.org",), owners=(MINE,), user_role=Role.NONE)
    assert policy.role(Who(MINE, logged_in=True)) is Role.OWNER
    assert policy.role(Who(OTHERS, logged_in=True)) is Role.VIEWER
    assert policy.role(Who("eve@elsewhere.example", logged_in=True)) is Role.NONE
