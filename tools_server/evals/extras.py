"""Packages that only evaluation needs."""

from typing import Any

from tools_server.errors import EvaluationUnavailable
from tools_server.extras import import_extra

__all__ = ["library", "one_against_rest"]


def library(name: str) -> Any:
    """Import a package of the extra `evals`.

    Raises:
        EvaluationUnavailable: it is not installed.
    """
    return import_extra(name, "evals", "This evaluation", EvaluationUnavailable)


def one_against_rest(strength: float) -> Any:
    """A classifier of one logistic regression for each class; `strength` is the inverse of its regularisation.

    Not the multinomial one: its solver keeps twenty copies of all weights, gigabytes for 150 labels.

    Raises:
        EvaluationUnavailable: scikit-learn is not installed.
    """
    regression = library("sklearn.linear_model").LogisticRegression(C=strength, solver="liblinear")
    return library("sklearn.multiclass").OneVsRestClassifier(regression)
