"""Baselines for summaries: the first sentences of the text, which are hard to beat in news."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tools_server.data.types import Sample

__all__ = ["lead", "sentences"]

_BOUNDARY = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["'”’)\]]))\s+(?=["'“‘(\[]*[A-Z0-9])|\n+""")


def lead(count: int, samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """The first `count` sentences of each text."""
    return [{"summary": " ".join(sentences(str(sample.arguments["text"]))[:count])} for sample in samples]


def sentences(text: str) -> list[str]:
    """Cut a text after `.`, `!` and `?` before a capital or a digit, and at line ends; abbreviations fool it."""
    return [part.strip() for part in _BOUNDARY.split(text) if part.strip()]
