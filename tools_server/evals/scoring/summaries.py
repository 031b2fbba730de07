"""Scores of summaries: how much they share with a person's, and what in them the text does not say."""

import re
from collections.abc import Sequence

from tools_server.data.types import Sample
from tools_server.evals.extras import library
from tools_server.evals.scoring.base import Data, Scored, counts, folded, quotient
from tools_server.evals.statistics import Measure

__all__ = ["score_summaries", "unsupported_names", "unsupported_numbers"]

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:]\s+|\n)[\W_]*(?=\w)")
_WORDS_OF_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
)


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
        source = str(sample.arguments["text"])
        said = str((answer or {}).get("summary", ""))
        references = [sample.expected["summary"], *sample.alternatives.get("summary", ())]
        overlaps.append((rouge.score_multi(references, said)["rougeL"].fmeasure, 1))
        given = int(answer is not None)
        words.append((len(said.split()), given))
        numbers.append((len(unsupported_numbers(said, source)), given))
        names.append((len(unsupported_names(said, source)), given))
    return Scored(
        [
            Measure("rouge_l", "mean", "higher", counts(overlaps, 2), quotient, primary=True),
            Measure("unsupported_numbers", "mean", "lower", counts(numbers, 2), quotient),
            Measure("unsupported_names", "mean", "lower", counts(names, 2), quotient),
            Measure("words", "mean", None, counts(words, 2), quotient),
        ]
    )


def unsupported_numbers(summary: str, source: str) -> list[str]:
    """Numbers of the summary that the source has neither in digits nor, up to twelve, in words."""
    known = set(map(_plain, _NUMBER.findall(source)))
    said = set(_WORD.findall(folded(source)))
    known |= {str(value) for value, word in enumerate(_WORDS_OF_NUMBERS) if word in said}
    return [number for number in _NUMBER.findall(summary) if _plain(number) not in known]


def unsupported_names(summary: str, source: str) -> list[str]:
    """Capitalised words inside the summary's sentences that the source does not have, whatever their case there.

    The first word of a sentence is left out: its capital says nothing.
    """
    known = set(_WORD.findall(folded(source)))
    known |= {part for word in known for part in re.split(r"['’-]", word)}
    first = {match.end() for match in _SENTENCE_START.finditer(summary)}
    found = [match for match in _WORD.finditer(summary) if match[0][0].isupper() and match.start() not in first]
    return [match[0] for match in found if not _is_known(folded(match[0]), known)]


def _is_known(word: str, known: set[str]) -> bool:
    return word in known or all(part in known for part in re.split(r"['’-](?:s$)?", word) if part)


def _plain(number: str) -> str:
    """`1,250.0` and `1250` are the same number; a time such as 09:12 stays as it is."""
    text = re.sub(r",(?=\d{3}(?!\d))", "", number)
    return text.rstrip("0").rstrip(".") if "." in text else text
