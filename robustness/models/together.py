"""Several models asked at the same time: small passes leave cores idle that others can use."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TypeVar

from robustness.base.errors import RobustnessError
from robustness.models import memory
from robustness.models.model_record import REGISTRY

Answer = TypeVar("Answer")


def together(
    names: Sequence[str], ask: Callable[[str], Answer]
) -> Generator[tuple[str, Answer | RobustnessError]]:
    """Yields each of the models ``names`` with ``ask(name)``, or its error, as they answer.

    They are asked from now on, whether somebody listens or not: as many at once as there are
    cores, in turn where the budget of memory does not hold them all. Measured on two cores: one
    picture by the four offline models in 40 ms, in turn in 50. Closing the iterator lets go of
    those that have not begun.
    """
    needed = sum(memory.needed(REGISTRY[name]) for name in names)
    workers = min(len(names), os.cpu_count() or 1) if needed <= memory.budget() else 1
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="ask")
    return _as_they_answer(pool, {pool.submit(ask, name): name for name in names})


def _as_they_answer(
    pool: ThreadPoolExecutor, asked: Mapping[Future[Answer], str]
) -> Generator[tuple[str, Answer | RobustnessError]]:
    try:
        for future in as_completed(asked):
            error = future.exception()
            if error is not None and not isinstance(error, RobustnessError):
                raise error
            yield asked[future], error or future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
