"""What an answer costs without a language model: baselines that answer the same samples, in the shape of the skill.

They are trained on the train split, where there is one; what has nothing to learn from works without.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tools_server.data.types import Sample
from tools_server.evals.baselines import labels, summaries, tagger
from tools_server.evals.scoring import Data, MetricName
from tools_server.skills.types import Skill

__all__ = ["Baseline", "baselines_for"]

Baseline = Callable[[], Sequence[Data]]
"""Answers the samples, in their order.

Raises:
    EvaluationUnavailable: scikit-learn is not installed.
"""


def baselines_for(
    metric: MetricName, skill: Skill, train: Sequence[Sample], samples: Sequence[Sample]
) -> Mapping[str, Baseline]:
    """Give the baselines that fit a skill and its samples, by name. Nothing is trained before one is called.

    - labels: `first label`, `common words` (the label whose name and description share most words with the text) and,
      from the train split, `majority`. `tf-idf` (words and characters, logistic regression) where all samples have one
      set of labels.
    - fields and entities: `tagger` (logistic regression over each token's form and neighbours), where the train split
      has the same fields.
    - summaries: `lead-1` and `lead-3`, the first sentences of the text.
    """
    if metric == "accuracy":
        found: dict[str, Baseline] = {
            "first label": partial(labels.first_label, skill, samples),
            "common words": partial(labels.common_words, skill, samples),
        }
        if train:
            found["majority"] = partial(labels.majority, skill, train, samples)
        if labels.is_learnable(skill, train, samples):
            found["tf-idf"] = partial(labels.tf_idf, train, samples)
        return found
    if metric == "rouge_l":
        return {f"lead-{count}": partial(summaries.lead, count, samples) for count in (1, 3)}
    if tagger.is_learnable(metric, train, samples):
        return {"tagger": partial(tagger.tagged, metric, train, samples)}
    return {}
