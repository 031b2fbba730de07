"""Packages that only evaluation needs."""

import importlib
from typing import Any

from tools_server.errors import EvaluationUnavailable
from tools_server.extras import not_installed

__all__ = ["library", "one_against_rest"]


def library(name: str) -> Any:
    """Import a package of the extra `evals`. They have no types: what comes of them is `Any` on purpose.

    Raises:
        EvaluationUnavailable: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EvaluationUnavailable(*not_installed(error, "evals", "This evaluation")) from error


def one_against_rest(strength: float) -> Any:
    """A classifier of one logistic regression for each class; `strength` is the inverse of its regularisation.

    Not the multinomial one: its solver keeps twenty copies of all weights, gigabytes for 150 labels.

    Raises:
        EvaluationUnavailable: scikit-learn is not installed.
    """
    regression = library("sklearn.linear_model").LogisticRegression(C=strength, solver="liblinear")
    return library("sklearn.multiclass").OneVsRestClassifier(regression)
