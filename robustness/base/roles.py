"""Permissions: actions, roles, and the function that allows or refuses an action.

Pages and the server identify the user as ``Who``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from robustness.base import settings
from robustness.base.errors import AccessError


class Role(IntEnum):
    """Roles of users; each includes the permissions of the roles before it."""

    NONE = 0
    VIEWER = 1
    EVALUATOR = 2
    OWNER = 3


class Action(Enum):
    """Actions; the value completes "You may not ..."."""

    LOOK = "look at this dashboard"
    MEASURE = "measure images"
    ATTACK = "attack models"
    UPLOAD = "upload images"
    SHARE = "share images"
    UNSHARE = "delete this shared image"
    EVALUATE = "start or continue an evaluation"
    CANCEL = "cancel an evaluation"
    CANCEL_TRAINING = "cancel this training"
    RENAME = "rename this run"
    LIMIT = "set the limits of this run"
    DELETE = "delete this run"
    RESTORE = "bring this run back"
    PIN = "pin a baseline for everyone"
    DOWNLOAD_WEIGHTS = "download weights to this server"
    CHANGE_MODELS = "add or remove models"


@dataclass(frozen=True)
class Permission:
    """The lowest ``role`` that may perform an action.

    With ``own``, that role may act on its own things only, and an owner on all. Actions with
    ``writes`` are refused while the dashboard is read-only.
    """

    role: Role
    own: bool = False
    writes: bool = False


RULES: Mapping[Action, Permission] = {
    Action.LOOK: Permission(Role.VIEWER),
    Action.MEASURE: Permission(Role.VIEWER),
    Action.ATTACK: Permission(Role.EVALUATOR),
    Action.UPLOAD: Permission(Role.EVALUATOR),
    Action.SHARE: Permission(Role.EVALUATOR, writes=True),
    Action.UNSHARE: Permission(Role.EVALUATOR, own=True, writes=True),
    Action.EVALUATE: Permission(Role.EVALUATOR, writes=True),
    Action.CANCEL: Permission(Role.EVALUATOR),  # what was done is kept, and can be continued
    Action.CANCEL_TRAINING: Permission(Role.EVALUATOR, own=True),
    Action.RENAME: Permission(Role.EVALUATOR, own=True, writes=True),
    Action.LIMIT: Permission(Role.EVALUATOR, own=True, writes=True),
    Action.DELETE: Permission(Role.EVALUATOR, own=True, writes=True),
    Action.RESTORE: Permission(Role.EVALUATOR, own=True, writes=True),
    Action.PIN: Permission(Role.OWNER, writes=True),
    Action.DOWNLOAD_WEIGHTS: Permission(Role.OWNER, writes=True),
    Action.CHANGE_MODELS: Permission(Role.OWNER, writes=True),
}


@dataclass(frozen=True)
class Who:
    """A user.

    ``name`` identifies the owner of things: the verified e-mail address of a login, or a name
    created for the browser; "" owns nothing. ``logged_in`` is true only with a login, ``local`` for
    connections from this machine without a proxy.
    """

    name: str = ""
    logged_in: bool = False
    local: bool = False


@dataclass(frozen=True)
class Policy:
    """The operator's rules; created by ``policy``.

    ``local_owner`` says that ``local_role`` counts beside a login, too.
    """

    login: bool = False
    owners: tuple[str, ...] = ()
    evaluators: tuple[str, ...] = ()
    viewers: tuple[str, ...] = ()
    user_role: Role = Role.NONE
    anonymous_role: Role = Role.EVALUATOR
    local_role: Role = Role.OWNER
    local_owner: bool = False
    read_only: bool = False
    contact: str = "the operator of this dashboard"

    def role(self, who: Who) -> Role:
        """The role of ``who``; the lists apply only to users who are logged in.

        They have addresses, or a domain as ``*@example.org``.
        """
        if self.login and who.logged_in:
            if _is_listed(who.name, self.owners):
                return Role.OWNER
            if _is_listed(who.name, self.evaluators):
                return Role.EVALUATOR
            if _is_listed(who.name, self.viewers):
                return Role.VIEWER
            return self.user_role
        if who.local and (self.local_owner or not self.login):
            return self.local_role
        return self.anonymous_role


def _is_listed(name: str, entries: Iterable[str]) -> bool:
    """Whether ``entries`` have the address ``name`` or its domain; false for no address."""
    address = address_of(name)
    if not address:
        return False
    domain = f"*@{address.partition('@')[2]}"
    return any(address_of(entry) in (address, domain) for entry in entries)


def policy() -> Policy:
    """The current rules, from the settings; raises ``ParameterError`` for an invalid setting.

    A forward of a port makes every visitor local. So where ``hosts`` shows that others use the
    dashboard, a local user has no more rights than others but by the setting ``local_owner``.
    """
    login = bool(settings.value(settings.LOGIN))
    anonymous_role = _role(settings.ANONYMOUS_ROLE, Role.NONE if login else Role.EVALUATOR)
    local_role = _role(settings.LOCAL_ROLE, Role.OWNER)
    local_owner = bool(settings.value(settings.LOCAL_OWNER))
    hosts = settings.value(settings.HOSTS)
    if hosts and not local_owner:
        local_role = min(local_role, anonymous_role)
    return Policy(
        login=login,
        owners=(settings.value(settings.OWNERS) or ()),
        evaluators=(settings.value(settings.EVALUATORS) or ()),
        viewers=(settings.value(settings.VIEWERS) or ()),
        user_role=_role(settings.USER_ROLE, Role.NONE),
        anonymous_role=anonymous_role,
        local_role=local_role,
        local_owner=local_owner,
        read_only=bool(settings.value(settings.READ_ONLY)),
        contact=settings.value(settings.CONTACT) or Policy.contact,
    )


def check(action: Action, who: Who, owner_of_thing: str | None, settled: Policy) -> None:
    """Raise ``AccessError``, which names whom to ask, unless ``who`` may perform ``action``.

    ``owner_of_thing`` is the name under which the thing is somebody's; None or "" is nobody's.
    """
    rule = RULES[action]
    role = settled.role(who)
    is_own_thing = bool(who.name) and who.name == owner_of_thing
    if role < rule.role:
        yours = f"yours is {role.name.lower()}" if role else "you have none here"
        if settled.login and not who.logged_in:
            yours = "you are not logged in"
        reason = f"that needs the role {rule.role.name.lower()}, and {yours}"
    elif rule.own and not is_own_thing and role < Role.OWNER:
        reason = "it is not yours, and others' things need the role owner"
    elif rule.writes and settled.read_only:
        reason = "this dashboard is read-only"
    else:
        return
    raise AccessError(f"You may not {action.value}: {reason}; ask {settled.contact}.")


def _role(setting: settings.Setting[str], default: Role) -> Role:
    name = settings.value(setting)
    if name is None:
        return default
    return Role[name.upper()]


def address_of(text: str) -> str:
    """The e-mail address ``text`` in a comparable form; "" unless it has exactly one @.

    Only the letters A to Z have a lower case here: another alphabet's may be somebody else.
    """
    user, _, domain = text.partition("@")
    if not user or not domain or "@" in domain:
        return ""
    return text.encode(errors="replace").lower().decode()
