"""Markers around printed values, and the splitting of a rendered block into spans at them."""

import re
import secrets
from collections.abc import Iterator

from tools_server.engine.types import Span

OPEN, CLOSE, END = "\ue000", "\ue002", "\ue001"


class Marks:
    """One rendering's pair of markers. The number is drawn anew each time, so no text can contain it by design."""

    def __init__(self) -> None:
        self._number = f"{secrets.randbits(128):039d}"  # digits: filters such as `upper` leave them alone
        self._open = f"{OPEN}{self._number}{END}"
        self._close = f"{CLOSE}{self._number}{END}"

    def around(self, text: str) -> str:
        """Mark text as payload."""
        return f"{self._open}{text}{self._close}"

    def spans(self, rendered: str) -> tuple[Span, ...]:
        """Split at the markers; payload within payload (a printed `{% set %}` block) is one payload.

        Leading and trailing newlines go, but only those of the template's own text.

        Raises:
            ValueError: the markers are damaged, for example by a filter that cuts text which was printed already.
        """
        spans: list[Span] = []
        for text, payload in self._pieces(rendered):
            if spans and spans[-1].payload == payload:
                spans[-1] = Span(spans[-1].text + text, payload)
            else:
                spans.append(Span(text, payload))
        if spans and not spans[0].payload:
            spans[0] = Span(spans[0].text.lstrip("\n"))
        if spans and not spans[-1].payload:
            spans[-1] = Span(spans[-1].text.rstrip("\n"))
        return tuple(span for span in spans if span.text)

    def _pieces(self, rendered: str) -> Iterator[tuple[str, bool]]:
        depth = 0
        for piece in re.split(f"({self._open}|{self._close})", rendered):
            if piece in (self._open, self._close):
                depth += 1 if piece == self._open else -1
                if depth < 0:
                    raise ValueError("a filter cut text that was printed already")
            elif self._number in piece or (depth == 0 and re.search(f"[{OPEN}{CLOSE}{END}]", piece)):
                raise ValueError("a filter changed text that was printed already")
            elif piece:
                yield piece, depth > 0
        if depth:
            raise ValueError("a filter cut text that was printed already")
