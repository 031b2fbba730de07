"""Skills that choose: the labels are scored, not generated, so the probabilities are the model's own.

What a skill writes besides comes after the choice, by the bare base: its adapter was trained to choose.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

from tools_server.calls.cache import Recent
from tools_server.calls.forms import AnswerForm, Forms
from tools_server.calls.gather import gather
from tools_server.calls.trust import DIGITS, Trust, rounded
from tools_server.calls.work import Work
from tools_server.calls.write import may_be_cut, write
from tools_server.engine.types import Chat, Prompt, Scores
from tools_server.skills.labels import NONE_OF_THESE, Label, is_multi_label, labels_of

SHOWN_SCORES = 10
"""With more labels than this, `scores` has the likeliest ones only; the chosen ones are always among them."""

FULL_DIGITS = 8
"""With `detail` full: what a calibration is fitted on should not be lost to rounding."""
YES_NO = ("yes", "no")

Continuations = tuple[tuple[int, ...], ...]
TokenisedLabels = Recent[tuple[str, tuple[str, ...]], Continuations]
"""By the model's SHA-256 and the labels."""


class Chooser:
    """Answers one input after the other with the labels of one call."""

    def __init__(
        self, work: Work, labels: Sequence[Label], continuations: Continuations, form: AnswerForm | None
    ) -> None:
        self._work = work
        self._labels = labels
        self._multi = is_multi_label(work.call.skill, work.call.arguments)
        self._continuations = continuations
        self._form = form  # of what is written after the choice
        # Calibrations are fitted on choices of one label; a yes or no about each is another question.
        self._trust = Trust.of(work, calibrated=not self._multi)
        self._answer_tokens = sum(map(len, continuations))
        if form is not None:
            self._answer_tokens += work.call.skill.manifest.limits.max_output_tokens

    @classmethod
    async def prepare(cls, work: Work, tokenised: TokenisedLabels, forms: Forms) -> Self:
        """Tokenise the call's labels once for all of its inputs, unless an earlier call had the same.

        Raises:
            InvalidArguments: the labels are unusable.
            ManifestInvalid: what the skill writes cannot be enforced.
        """
        call = work.call
        labels = labels_of(call.skill, call.arguments)
        texts = YES_NO if is_multi_label(call.skill, call.arguments) else tuple(label.name for label in labels)
        key = (work.engine.info.sha256, texts)
        known = tokenised.get(key) or tokenised.put(key, await work.engine.continuations(texts))
        writes = bool(call.skill.manifest.choose.write)
        form = await forms.form_of(call.skill, call.arguments, work.engine) if writes else None
        return cls(work, labels, known, form)

    async def answer(self, text: str) -> Mapping[str, Any]:
        """Answer one text.

        Raises:
            InputTooLong: it exceeds the skill's limit, or the context with the labels.
            OutputTruncated, DecodeFailed: what is written after the choice did not end, or broke its schema.
            CapacityError, EngineError: from the engine.
        """
        limit = self._work.call.skill.manifest.limits.max_input_tokens
        if (tokens := await self._work.exceeds(text, limit)) is not None:
            raise self._work.too_long(tokens, limit, why="its `max_input_tokens`")
        if self._multi:
            answer = await self._every(text)
        else:
            answer = await (self._best(text) if self._form is None else self._best_and_written(text, self._form))
        return {**answer, **self._trust.deferral(answer["confidence"])}

    async def _best(self, text: str) -> Mapping[str, Any]:
        """Score all labels at once."""
        chat = self._work.chat(text)
        fits = self._work.surely_fits(chat, self._answer_tokens)
        return self._chosen(await self._score(chat if fits else await self._fitting_prompt(text)))[1]

    async def _best_and_written(self, text: str, form: AnswerForm) -> Mapping[str, Any]:
        """Score all labels, then write the rest about the best one. Without an adapter the text is prefilled once."""
        prompt = await self._fitting_prompt(text)
        bare = self._work.adapter is None
        if bare:
            # Which label it will be does not matter here: what the prompts have in common ends before it is named.
            prompt = _sharing([prompt, await self._work.prompt(text, self._labels[0])])[0]
        label, answer = self._chosen(await self._score(prompt))
        about = await self._work.prompt(text, label)
        if bare:
            about = _sharing([prompt, about])[1]
        written = await write(self._work, form, about, text, bare=True)
        warnings = [may_be_cut(path) for path in written.cut]
        return {**answer, **written.answer} | ({"warnings": warnings} if warnings else {})

    def _chosen(self, scores: Scores) -> tuple[Label, dict[str, Any]]:
        """Give the best label and the answer. Of equally likely ones the caller's first wins."""
        raw = _probabilities(scores)
        probabilities = self._trust.tempered(raw)
        best = max(range(len(raw)), key=raw.__getitem__)
        label = self._labels[best]
        answer = {
            "label": None if label is NONE_OF_THESE else label.name,
            "confidence": self._trust.confidence(probabilities[best]),
            "scores": self._shown(probabilities, chosen=[best]),
        }
        if self._work.call.full:
            answer |= {"signals": _signals(raw, scores.mass), "calibration": self._trust.brief()}
        return label, answer

    async def _every(self, text: str) -> Mapping[str, Any]:
        """Ask yes or no about each label. `confidence` is that of the least certain of these decisions."""

        prompts = _sharing([await self._fitting_prompt(text, label) for label in self._labels])

        async def ask(prompt: Prompt) -> list[float]:
            return _probabilities(await self._score(prompt))

        answers = await gather([partial(ask, prompt) for prompt in prompts], self._work.limit)
        chosen = [index for index, (yes, no) in enumerate(answers) if yes >= no]
        answer = {
            "labels": [self._labels[index].name for index in chosen],
            "confidence": rounded(min(max(answer) for answer in answers)),
            "scores": self._shown([yes for yes, _ in answers], chosen),
        }
        return answer | ({"calibration": None} if self._work.call.full else {})

    async def _fitting_prompt(self, text: str, label: Label | None = None) -> Prompt:
        prompt = await self._work.prompt(text, label)
        room = self._work.room(len(prompt), self._answer_tokens)
        if room < 0:
            tokens = await self._work.count(text)
            if tokens + room <= 0:
                raise self._work.no_room(tokens, max(0, tokens + room))
            raise self._work.too_long(tokens, tokens + room, why="what the context leaves beside the labels")
        return prompt

    async def _score(self, prompt: Prompt | Chat) -> Scores:
        return await self._work.score(prompt, self._continuations)

    def _shown(self, probabilities: Sequence[float], chosen: Sequence[int]) -> dict[str, float]:
        """Give the scores to show, likeliest first."""
        order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
        most, digits = (len(order), FULL_DIGITS) if self._work.call.full else (SHOWN_SCORES, DIGITS)
        shown = [index for rank, index in enumerate(order) if rank < most or index in chosen]
        return {self._labels[index].name: rounded(probabilities[index], digits) for index in shown}


def _sharing(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Let prompts about one text share the prefill of all that they have in common, the text above all."""
    common = 0
    for column in zip(*(prompt.tokens for prompt in prompts), strict=False):
        if len(set(column)) > 1:
            break
        common += 1
    # A prefix must be shorter than its prompt, even where two prompts are the same.
    common = min(common, *(len(prompt) - 1 for prompt in prompts))
    return [
        Prompt(prompt.tokens, tuple(sorted({*(length for length in prompt.prefixes[:1] if length < common), common})))
        for prompt in prompts
    ]


def _probabilities(scores: Scores) -> list[float]:
    return [math.exp(logprob) for logprob in scores.logprobs]


def _signals(probabilities: Sequence[float], mass: float) -> dict[str, float]:
    """The model's own distribution over the labels, before any calibration.

    `confidence` is its largest share, `margin` how far that is before the next one, `entropy` is in nats, from 0 to the
    logarithm of the number of labels; `mass` is the probability that the model, left alone, would begin with a label.
    """
    first, second = sorted(probabilities, reverse=True)[:2]
    entropy = -math.fsum(each * math.log(each) for each in probabilities if each > 0)
    signals = {"confidence": first, "margin": first - second, "entropy": max(0.0, entropy), "mass": mass}
    return {name: round(value, FULL_DIGITS) for name, value in signals.items()}
