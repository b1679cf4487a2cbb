"""What is measured, in the order of the report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import measure
from bench.lab import Lab
from bench.measure import CONNECTIONS, Sample

Run = Callable[[Lab], Awaitable[dict[str, Sample]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that every round measures once.

    ``run`` returns a sample for each of its parts, such as ``c64`` and ``c256``; ``needs`` is None
    or says why the row cannot be measured on this machine.
    """

    key: str
    title: str
    run: Run
    needs: Callable[[], str | None] = lambda: None


async def _floor(lab: Lab) -> dict[str, Sample]:
    return await measure.answered(lab, lab.python_peer("floor"), CONNECTIONS)


def _python(name: str) -> Run:
    async def run(lab: Lab) -> dict[str, Sample]:
        return await measure.published(lab, lab.python_peer(name), CONNECTIONS)

    return run


async def _ours(lab: Lab) -> dict[str, Sample]:
    return await measure.published(lab, lab.ours(), CONNECTIONS)


ROWS = (
    Row("floor", "floor: aiohttp web.Server answering 200", _floor),
    Row("naive", "aiohttp + aio-pika, bare", _python("naive")),
    Row("naive-equal", "aiohttp + aio-pika, equal work", _python("equal")),
    Row("ours", "the bridge", _ours),
)
