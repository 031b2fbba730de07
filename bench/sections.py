"""What can be measured, by name, and the one place that measures it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import beside_loop, ceiling, clients, llama_server, machine, neighbour, programs, trust
from bench.beside_server import ROW_KEYS, BesideServer
from bench.measure import Comparison
from bench.progress import TakeTurns, turns
from bench.report import Section
from bench.requantised import requantised
from bench.terms import Terms
from bench.texts import Texts
from tools_server.settings import Settings

ENGINE, SERVER, CEILING, NEIGHBOUR, CLIENTS, TRUST = "engine", "server", "ceiling", "neighbour", "clients", "trust"
# The bare loop comes last: it decodes in this process's main thread, after which OpenMP has more threads than cores
# here, and the engine in this process, which the ceiling is compared with, would be slower for the rest of the run.
PARTS: Mapping[str, Sequence[str]] = {
    SERVER: ROW_KEYS,
    CEILING: (CEILING,),
    CLIENTS: (CLIENTS,),
    NEIGHBOUR: (NEIGHBOUR,),
    TRUST: (TRUST,),
    ENGINE: ("prefill", "decode", "outlines"),
}
"""By section, in the order in which they run: what can be chosen by itself."""

COMPILED = (SERVER, CEILING)
"""Sections that need llama.cpp's own programs."""


def names() -> str:
    """Every name, for people: a section, or single parts of it."""
    return ", ".join(
        section if parts == (section,) else f"{section} ({', '.join(parts)})" for section, parts in PARTS.items()
    )


def chosen(only: str) -> dict[str, list[str]]:
    """Read a list of names: the wanted parts of each wanted section.

    Raises:
        ValueError: a name is unknown, or what a section needs is not installed.
    """
    asked = [name.strip() for name in only.split(",")]
    known = {*PARTS, *(part for parts in PARTS.values() for part in parts)}
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"{unknown[0]!r} is unknown; there are {names()}.")
    wanted = {
        section: [part for part in parts if section in asked or part in asked] for section, parts in PARTS.items()
    }
    if "outlines" in wanted[ENGINE] and find_spec("numba") is None:
        raise ValueError(
            "without numba Outlines would answer unconstrained, so `outlines` would compare nothing. "
            "`make bench` installs it; `uv sync --group bench` too."
        )
    return {section: parts for section, parts in wanted.items() if parts}


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be measured under which terms."""

    settings: Settings
    as_format: str | None
    rounds: int
    slots: int
    server_wait: str | None
    quick: bool

    async def run(self, wanted: Mapping[str, Sequence[str]]) -> list[Section]:
        """Measure the wanted parts, section by section.

        Raises:
            ModelError: the weights are missing or unusable.
            BaselineError: a baseline cannot be built, started or asked.
        """
        settings = self.settings if self.as_format is None else requantised(self.settings, self.as_format)
        terms = Terms.of(settings, slots=self.slots, wait_policy=self.server_wait)
        folder = programs.build() if any(section in COMPILED for section in wanted) else Path()
        texts = Texts()
        found: list[Section] = []
        for section, parts in wanted.items():
            load_before, facts = machine.load_average(), machine.facts(settings)
            with turns(self.rounds) as take_turns:
                comparisons = await self._measure(section, parts, terms, folder, texts, take_turns)
            if section in COMPILED:
                facts |= {"llama.cpp's programs": llama_server.described(terms)}
            title, sides = self._heading(section)
            found.append(Section(title, self.rounds, comparisons, machine.with_load(facts, load_before), sides))
        return found

    async def _measure(
        self, section: str, parts: Sequence[str], terms: Terms, folder: Path, texts: Texts, take_turns: TakeTurns
    ) -> list[Comparison]:
        if section == SERVER:
            return await BesideServer(terms, folder, texts, take_turns, self.quick).run(parts)
        if section == CEILING:
            return await ceiling.compare(terms, folder, take_turns)
        if section == CLIENTS:
            return await clients.compare(terms, texts, take_turns)
        if section == NEIGHBOUR:
            return await neighbour.compare(terms, texts, take_turns)
        if section == TRUST:
            return await trust.compare(terms, texts, take_turns)
        return await beside_loop.compare(terms, parts, texts, take_turns)

    def _heading(self, section: str) -> tuple[str, tuple[str, str]]:
        model = self.settings.model + (f" as {self.as_format.upper()}" if self.as_format else "")
        usual = ("tools-server", "baseline's")
        return {
            SERVER: (f"{model} beside llama-server", usual),
            CEILING: (f"{model} under llama.cpp's ceiling", usual),
            CLIENTS: (f"{model} with several clients", ("several", "one")),
            NEIGHBOUR: (f"{model} as a neighbour", ("side by side", "alone")),
            TRUST: (f"{model} with and without trust", ("with", "without")),
            ENGINE: (model, usual),
        }[section]
