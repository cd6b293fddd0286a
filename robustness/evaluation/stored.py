"""Conditions of published datasets, whose perturbed images are files: read, never made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from robustness.base.errors import ParameterError
from robustness.base.validation import StrictTable
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.perturbations import Images

PREFIX = "stored:"
"""Begins the ``name`` of a stored corruption, which keeps its figures apart from our own."""

SEVERITIES = 5


class StoredTable(StrictTable):
    """A stored condition as ``as_dict`` has it."""

    corruption: Annotated[str, Field(pattern=r"^\w{1,100}$")]
    severity: Annotated[int, Field(ge=1, le=SEVERITIES)]


@dataclass(frozen=True)
class StoredCondition(Condition):
    """A corruption of a published dataset at a severity from 1 to 5; see ``of_table``."""

    corruption: str
    severity: int

    in_files: ClassVar[bool] = True

    @staticmethod
    def of_table(table: StoredTable) -> StoredCondition:
        """The condition that ``table`` describes."""
        name, severity = PREFIX + table.corruption, table.severity
        return StoredCondition(((name, severity / SEVERITIES),), table.corruption, severity)

    @property
    def id(self) -> str:
        return f"stored(corruption={self.corruption},severity={self.severity})"

    def as_dict(self) -> dict[str, Any]:
        """Corruption and severity, as in the spec of a run."""
        return {"corruption": self.corruption, "severity": self.severity}

    @property
    def label(self) -> str:
        return perturbation_label(self.name)

    @property
    def described(self) -> str:
        return self.short

    @property
    def named(self) -> str:
        return f"{self.corruption} {self.severity}"

    @property
    def short(self) -> str:
        return f"{self.label}, {self.setting}"

    @property
    def setting(self) -> str:
        return f"severity {self.severity}"

    @property
    def series(self) -> str:
        return self.label

    @property
    def parameter(self) -> float | None:
        return float(self.severity)

    @property
    def effect(self) -> str:
        return self.id

    @property
    def perturbations(self) -> tuple[str, ...]:
        return ()

    def images(self, clean: Images, digests: Sequence[str], seed: int) -> Images:
        """Raise ``ParameterError``: the images are files of a dataset."""
        raise ParameterError(
            f"{self.label} is stored in a published dataset: expected that dataset as "
            "TREE::ORIGINALS."
        )
