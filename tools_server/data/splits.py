"""What makes a measurement honest: splits that share no text, and a hash that says which samples were used."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools_server.data.records import canonical
from tools_server.data.types import Sample
from tools_server.errors import DataInvalid

__all__ = ["check_disjoint", "folded", "hash_of", "missing_labels", "split"]

SHOWN = 5
"""Shared texts that an error quotes."""


def folded(text: str) -> str:
    """Give a text without regard to case and white space: two texts that are alike then are the same text."""
    return " ".join(text.casefold().split())


def check_disjoint(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Check that no two splits share a text.

    Raises:
        DataInvalid: with both places of the first ones.
    """
    first: dict[str, tuple[str, Sample]] = {}
    shared: list[str] = []
    for name, samples in splits.items():
        own: dict[str, tuple[str, Sample]] = {}
        for sample in samples:
            key = folded(sample.arguments["text"])
            if key in first:
                other, twin = first[key]
                shared.append(f"{sample.place} ({name}) has the text of {twin.place} ({other})")
            else:
                own.setdefault(key, (name, sample))
        first |= own  # after the whole split: what repeats inside one split is allowed
    if shared:
        more = f"; and {len(shared) - SHOWN:,} more" if len(shared) > SHOWN else ""
        raise DataInvalid(
            f"{len(shared):,} sample(s) stand in two splits: {'; '.join(shared[:SHOWN])}{more}.",
            "Take them out of the split that is trained on: a score on texts that were trained on says nothing.",
        )


def hash_of(samples: Iterable[Sample]) -> str:
    """Give the SHA-256 of what the samples ask and want; their order, ids and places do not count."""
    lines = sorted(
        canonical([sample.skill, dict(sample.arguments), dict(sample.expected), dict(sample.alternatives)])
        for sample in samples
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def split(samples: Sequence[Sample], *, seed: int, dev_share: float) -> tuple[list[Sample], list[Sample]]:
    """Part samples into (train, dev) by the hash of their text.

    Samples with the same text stay together, and a sample that is added later moves no other one. The share is met
    on average.
    """
    train: list[Sample] = []
    dev: list[Sample] = []
    for sample in samples:
        digest = hashlib.sha256(f"{seed}\n{folded(sample.arguments['text'])}".encode()).digest()
        (dev if int.from_bytes(digest[:8], "big") < dev_share * 2**64 else train).append(sample)
    return train, dev


def missing_labels(samples: Iterable[Sample], labels: Iterable[str]) -> list[str]:
    """Give the labels, in their order, that no sample has: a model learns nothing about them."""
    seen: set[Any] = set()
    for sample in samples:
        seen.update(sample.expected.get("labels") or [sample.expected.get("label")])
    return [label for label in labels if label not in seen]
