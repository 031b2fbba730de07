"""Scores of summaries: how much they share with a person's, and what in them the text does not say."""

from collections.abc import Sequence

from tools_server.data.types import Sample
from tools_server.evals.extras import library
from tools_server.evals.scoring.base import Data, Scored, counts, quotient
from tools_server.evals.statistics import Measure
from tools_server.evidence.claims import unsupported
from tools_server.evidence.source import Source

__all__ = ["score_summaries"]


def score_summaries(samples: Sequence[Sample], answers: Sequence[Data]) -> Scored:
    """Score `summary` against the expected one and its alternatives.

    `rouge_l`: the F measure of the longest common subsequence of stemmed words, best over the references (Lin 2004;
    English words and digits only); a call that failed has 0. `unsupported_numbers` and `unsupported_names`: how many of
    each a summary has, on average, that the text lacks. `words` only describes.

    Raises:
        EvaluationUnavailable: rouge-score is not installed.
    """
    rouge = library("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=True)
    overlaps: list[tuple[float, float]] = []
    words: list[tuple[int, int]] = []
    numbers: list[tuple[int, int]] = []
    names: list[tuple[int, int]] = []
    for sample, answer in zip(samples, answers, strict=True):
        source = Source(str(sample.arguments["text"]))
        said = str((answer or {}).get("summary", ""))
        references = [sample.expected["summary"], *sample.alternatives.get("summary", ())]
        overlaps.append((rouge.score_multi(references, said)["rougeL"].fmeasure, 1))
        given = int(answer is not None)
        words.append((len(said.split()), given))
        claims = [claim.kind for claim in unsupported(said, source)]
        numbers.append((claims.count("number") + claims.count("date"), given))
        names.append((claims.count("name"), given))
    return Scored(
        [
            Measure("rouge_l", "mean", "higher", counts(overlaps, 2), quotient, primary=True),
            Measure("unsupported_numbers", "mean", "lower", counts(numbers, 2), quotient),
            Measure("unsupported_names", "mean", "lower", counts(names, 2), quotient),
            Measure("words", "mean", None, counts(words, 2), quotient),
        ]
    )
