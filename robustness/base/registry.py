"""Named collections; records register beside the code they describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from robustness.base.errors import UnknownNameError
from robustness.base.text import did_you_mean, folded


class Named(Protocol):
    """What a registry requires of a record."""

    @property
    def name(self) -> str: ...


Record = TypeVar("Record", bound=Named)
Function = TypeVar("Function", bound=Callable[..., Any])
Fields = ParamSpec("Fields")


class Registry(Generic[Record]):
    """Records by name, in the order of registration.

    ``kind`` is the singular noun used in messages ("perturbation").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._records: dict[str, Record] = {}

    def add(self, record: Record) -> Record:
        """Register ``record``; a second record of the same name raises ``ValueError``."""
        if record.name in self._records:
            raise ValueError(f"the {self.kind} {record.name!r} is registered twice")
        self._records[record.name] = record
        return record

    def decorator(
        self, make: Callable[Concatenate[str, Any, Fields], Record]
    ) -> Callable[Fields, Callable[[Function], Function]]:
        """A decorator that registers a function under its own name.

        ``make`` is the class of the record; its first fields are the name and the function.
        """

        def described(
            *args: Fields.args, **fields: Fields.kwargs
        ) -> Callable[[Function], Function]:
            def added(function: Function) -> Function:
                self.add(make(function.__name__, function, *args, **fields))
                return function

            return added

        return described

    def exchange(self, old: Iterable[str], new: Iterable[Record]) -> None:
        """Replace the records named ``old`` with ``new``, at the end, in one step."""
        gone = set(old)
        rest = {name: record for name, record in self._records.items() if name not in gone}
        self._records = rest | {record.name: record for record in new}

    def arrange(self, names: Sequence[str]) -> None:
        """Put the records in the order of ``names``, the others behind them as they came.

        Raises ``KeyError`` for a name without a record.
        """
        named = {name: self._records[name] for name in names}
        self._records = named | self._records

    def find(self, text: str) -> Record | None:
        """The record called ``text``, or the only one with that ``label``, up to case; or None."""
        if text in self._records:
            return self._records[text]
        wanted = folded(text)
        labelled = []
        for record in self:
            label = folded(getattr(record, "label", ""))
            if label and label == wanted:
                labelled.append(record)
        return labelled[0] if len(labelled) == 1 else None

    def __getitem__(self, name: str) -> Record:
        """As ``find``; raises ``UnknownNameError``, which lists the known names, for None."""
        record = self.find(name)
        if record is not None:
            return record
        hint = did_you_mean(name, self._records)
        raise UnknownNameError(f"There is no {self.kind} called {name!r}. {hint}.")

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        return name in self._records

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._records)
