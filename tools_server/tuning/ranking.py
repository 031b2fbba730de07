"""Which candidate is fastest for a typical mix of calls."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from tools_server.tuning.types import DECODE_SIZES, Candidate, Rates, Spread

__all__ = ["CLOSE", "PREFILL_SHARE", "gain", "ranked", "ratio", "relative", "seconds", "spreads", "written_rate"]

PREFILL_SHARE = 0.8
"""Share of the tokens of a typical mix that are read rather than written: `make try`, whose three calls summarise,
classify and extract, reads 1,421 tokens that no cache holds and writes 396 (0.78); longer texts raise it."""

CLOSE = 0.03
"""Candidates that differ by less than this are equally fast, and the smaller one is better."""


def seconds(rates: Rates) -> float:
    """Predicted seconds for 1,000 tokens of the mix; 1, 4 and 16 sequences write equal parts of what is written."""
    return 1000 * (PREFILL_SHARE / rates.prefill + (1 - PREFILL_SHARE) / written_rate(rates))


def written_rate(rates: Rates) -> float:
    """Tokens per second of the written part of the mix."""
    return 1 / fmean(1 / rates.decode[size] for size in DECODE_SIZES)


def ratio(rounds: Sequence[Rates], base: Sequence[Rates]) -> Spread:
    """How many times faster than `base` the mix is, round by round: what ran side by side is compared."""
    return Spread.of([seconds(theirs) / seconds(ours) for ours, theirs in zip(rounds, base, strict=True)])


def spreads(rounds: Sequence[Rates]) -> dict[str, Spread]:
    """Every figure of a candidate over its rounds, by name; tokens per second."""
    figures = {"prefill": Spread.of([each.prefill for each in rounds])}
    return figures | {f"decode_{size}": Spread.of([each.decode[size] for each in rounds]) for size in DECODE_SIZES}


def relative(measured: Mapping[Candidate, Sequence[Rates]], base: Candidate) -> dict[Candidate, float]:
    """Predicted seconds of each candidate as a share of those of `base`, which ran side by side with it."""
    return {candidate: 1 / ratio(rounds, measured[base]).median for candidate, rounds in measured.items()}


def ranked(shares: Mapping[Candidate, float]) -> list[Candidate]:
    """The candidates that are faster than the base, best first: by `relative` time, and by memory among close ones."""
    left = [candidate for candidate, share in shares.items() if share < 1 / (1 + CLOSE)]
    order: list[Candidate] = []
    while left:
        fastest = min(shares[candidate] for candidate in left)
        close = [candidate for candidate in left if shares[candidate] <= fastest * (1 + CLOSE)]
        best = min(close, key=lambda candidate: (candidate.memory, shares[candidate]))
        order.append(best)
        left.remove(best)
    return order


def gain(values: Sequence[float], base: Sequence[float]) -> float:
    """How many times higher one series of rates is than another: the middle of the ratios, round by round."""
    return median(ours / theirs for ours, theirs in zip(values, base, strict=True))
