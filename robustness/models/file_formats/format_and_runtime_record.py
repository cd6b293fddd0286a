"""The record of a format of model files, and what its reader gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 8 * 2**30
"""Most bytes of a model and of its weights: two billion numbers of 32 bits."""


class UnusableError(ValueError):
    """The file cannot be used as it is described; the message says why, without its name."""


@dataclass(frozen=True)
class Quantisation:
    """How integers represent numbers: ``(integer - zero_point) * scale``, within the two limits."""

    scale: float
    zero_point: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class Numbers:
    """The numbers that a file computes with.

    ``input`` and ``output`` are None where those are not integers, as is usual. ``quantised`` is
    whether any tensor is: then its own runtime computes in integers.
    """

    input: Quantisation | None = None
    output: Quantisation | None = None
    quantised: bool = False


@dataclass(frozen=True)
class GraphSize:
    """How many operations a graph has, and which ``loops`` among them have no limit of work."""

    count: int
    loops: tuple[str, ...]


@dataclass(frozen=True)
class Runtime:
    """A package that runs quantised files of a format as they are deployed.

    ``import_bytes`` is the memory that importing it reserves. With ``graph_size``, which reads the
    graph of a file, it also runs files that OpenVINO cannot read.
    """

    package: str
    label: str
    import_bytes: int = 0
    graph_size: Callable[[Path], GraphSize] | None = None


@dataclass(frozen=True)
class ModelFormat:
    """A format of model files. Functions of a path raise ``OSError`` for one they cannot read.

    ``ending`` is that of its files, and ``weights_ending`` of the files of weights that people
    upload beside them. ``is_graph`` is whether OpenVINO reads it; Keras reads the others.
    ``weights`` gives the names of a file's files of weights, relative to it.
    ``damage`` says what is wrong with the bytes of a file.
    ``metadata`` gives (key, text) of what its maker wrote into it. ``runtime`` runs it as deployed.
    """

    name: str
    ending: str
    is_graph: bool = True
    weights_ending: str = ""
    weights: Callable[[Path], Iterable[str]] = lambda _: ()
    numbers: Callable[[Path], Numbers] = lambda _: Numbers()
    damage: Callable[[Path], str] = lambda _: ""
    metadata: Callable[[Path], Iterable[tuple[str, str]]] = lambda _: ()
    runtime: Runtime | None = None
