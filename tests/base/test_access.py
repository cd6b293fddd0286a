"""Who may do what: every action by every role, with and without a login, read-only or not."""

from __future__ import annotations

from itertools import product

import pytest

from robustness.base.errors import AccessError
from robustness.base.permissions import Action, Policy, Role, Who, check, policy

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


def test_the_table_says_all_of_it() -> None:
    assert set(TABLE) == set(Action)


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_every_role_may_do_what_the_table_says(action: Action) -> None:
    own, others, not_read_only = TABLE[action]
    for role, login, read_only, owner in product(Role, (False, True), (False, True), THINGS):
        policy, who = settled(role, login=login, read_only=read_only)
        expected = LETTERS[role] in (own if owner == MINE else others)
        expected = expected and not (read_only and not_read_only)
        assert may(action, who, owner, policy) == expected, (role, login, read_only, owner)


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_who_has_no_name_owns_nothing(action: Action) -> None:
    policy = Policy(contact="op@example.org")
    assert may(action, Who(""), NOBODYS, policy) == ("E" in TABLE[action][1])


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
    ("address", "found"),
    [
        ("ada@example.org", True),
        ("ADA@EXAMPLE.ORG", True),
        ("ada@sub.example.org", False),
        ("ada@evil-example.org", False),
        ("example.org", False),
        ("ada@example.org@evil.example", False),
        ("", False),
    ],
)
def test_a_domain_is_that_domain_alone(address: str, found: bool) -> None:
    policy = Policy(login=True, viewers=("*@example.org",))
    assert (policy.role(Who(address, logged_in=True)) is Role.VIEWER) == found


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("weiss@lab.example", True),
        ("WEISS@LAB.EXAMPLE", True),
        ("weiß@lab.example", False),
        ("weis\u017f@lab.example", False),  # a long s
        ("wei\u017fs@lab.example", False),
        ("weiss@lab.example@evil.example", False),
        ("weiss@@lab.example", False),
        (" weiss@lab.example", False),
        ("weiss", False),
    ],
)
def test_an_address_is_that_address_alone(address: str, found: bool) -> None:
    policy = Policy(login=True, owners=("Weiss@lab.example",))
    assert (policy.role(Who(address, logged_in=True)) is Role.OWNER) == found


@pytest.mark.parametrize(
    "address", ["kate@lab.example", "KATE@LAB.EXAMPLE", "\u212aate@lab.example"]
)
def test_a_letter_of_another_alphabet_is_itself(address: str) -> None:
    """The Kelvin sign is no K."""
    policy = Policy(login=True, owners=("kate@lab.example",))
    assert (policy.role(Who(address, logged_in=True)) is Role.OWNER) == address.isascii()


@pytest.mark.parametrize(
    "address", ["x@evil.example@lab.example", "x@@lab.example", "@lab.example", "lab.example"]
)
def test_only_one_at_sign_parts_an_address(address: str) -> None:
    policy = Policy(login=True, viewers=("*@lab.example", "*@@lab.example", "*@"))
    assert policy.role(Who(address, logged_in=True)) is Role.NONE


def test_the_highest_of_several_roles_counts() -> None:
    policy = Policy(login=True, viewers=("*@example.org",), owners=(MINE,), user_role=Role.NONE)
    assert policy.role(Who(MINE, logged_in=True)) is Role.OWNER
    assert policy.role(Who(OTHERS, logged_in=True)) is Role.VIEWER
    assert policy.role(Who("eve@elsewhere.example", logged_in=True)) is Role.NONE
