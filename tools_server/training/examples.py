"""From samples to tokens, by the code that serves: the same templates, the same tokenizer, the same tries and grammars.

So training and serving cannot disagree about a prompt. What is learnt are the decisions that serving leaves to the
model: where labels part, and the tokens of an answer that the schema does not force.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tools_server.calls.forms import KINDS, constraint_of
from tools_server.calls.nullable import widen
from tools_server.data.types import Sample
from tools_server.engine.backend import Vocabulary
from tools_server.engine.chat import ChatEncoder, plain_chat
from tools_server.engine.grammar import GrammarCompiler
from tools_server.engine.trie import Trie
from tools_server.engine.types import Constraint, ConstraintKind
from tools_server.engine.vocabulary import continuations
from tools_server.errors import SamplesInvalid
from tools_server.skills.interface import filled
from tools_server.skills.labels import Label, is_multi_label, labels_of
from tools_server.skills.render import render
from tools_server.skills.types import Skill
from tools_server.training.types import Example, Target

__all__ = ["ExampleBuilder", "invocation_of"]

YES_NO = ("yes", "no")


class ExampleBuilder:
    """Builds the examples of one skill for one vocabulary.

    With `activated`, examples say where an activated adapter begins to act: at the answer's turn.
    """

    def __init__(self, skill: Skill, vocabulary: Vocabulary, *, activated: bool = False) -> None:
        self._skill = skill
        self._vocabulary = vocabulary
        self._chats = ChatEncoder(vocabulary)
        self._grammars = GrammarCompiler(vocabulary) if skill.manifest.kind == "generate" else None
        self._invocation = invocation_of(vocabulary) if activated else ()
        self._tries: dict[tuple[str, ...], tuple[tuple[tuple[int, ...], ...], Trie]] = {}

    def build(self, samples: Iterable[Sample]) -> list[Example]:
        """Build one example a sample, or one a label where every fitting label is asked for.

        Raises:
            SamplesInvalid: a wanted answer is none that the skill could give; names the sample's place.
        """
        return [example for sample in samples for example in self._examples(sample)]

    def build_possible(self, samples: Iterable[Sample]) -> tuple[list[Example], list[SamplesInvalid]]:
        """Build what can be built; give the complaints about the samples that were left out."""
        examples: list[Example] = []
        refused: list[SamplesInvalid] = []
        for sample in samples:
            try:
                examples += self._examples(sample)
            except SamplesInvalid as error:
                refused.append(error)
        return examples, refused

    def _examples(self, sample: Sample) -> list[Example]:
        text = str(sample.arguments["text"])
        own = {name: value for name, value in sample.arguments.items() if name != "text"}
        if self._skill.manifest.kind == "generate":
            return [self._generated(sample, own, text)]
        labels = labels_of(self._skill, own)
        if is_multi_label(self._skill, own):
            wanted = {str(name) for name in sample.expected["labels"]}
            return [
                self._chosen(own, text, YES_NO, YES_NO.index("yes" if label.name in wanted else "no"), label)
                for label in labels
            ]
        names = tuple(label.name for label in labels)
        wanted_label = sample.expected.get("label")
        if wanted_label not in names:
            raise SamplesInvalid(
                f"{sample.place}: the label {wanted_label!r} is not among the sample's {len(names)} labels.",
                "Correct the label, or add it to the labels.",
            )
        return [self._chosen(own, text, names, names.index(wanted_label))]

    def _chosen(
        self, own: Mapping[str, Any], text: str, names: tuple[str, ...], wanted: int, label: Label | None = None
    ) -> Example:
        prompt = self._prompt(own, text, label)
        members, trie = self._trie(names)
        answer = members[wanted]
        targets: list[Target] = []
        node = trie.root
        while node.children:
            among = tuple(child.edge[0] for child in node.children)
            token = answer[node.depth]
            targets.append(Target(len(prompt) + node.depth, token, among))
            node = next(child for child in node.children if child.edge[0] == token)
        # What follows the last place where labels part is never decoded, so it need not be learnt.
        end = targets[-1].position
        return self._example(prompt, answer[: end - len(prompt)], targets)

    def _trie(self, names: tuple[str, ...]) -> tuple[tuple[tuple[int, ...], ...], Trie]:
        if names not in self._tries:
            members = continuations(self._vocabulary, names)
            self._tries[names] = members, Trie(members)
        return self._tries[names]

    def _generated(self, sample: Sample, own: Mapping[str, Any], text: str) -> Example:
        prompt = self._prompt(own, text)
        argument = self._skill.manifest.generate.schema_from
        if argument is None:
            schema, wanted = self._skill.output_schema, sample.expected
        else:
            schema, wanted = widen(filled(self._skill, own)[argument]), sample.expected["data"]
        answer, learnt = _written(wanted, schema, sample.place, partial=argument is None)
        constraint = constraint_of(schema, KINDS[self._skill.manifest.generate.spans])
        if constraint.kind is not ConstraintKind.JSON_SCHEMA:
            constraint = replace(constraint, text=text)
        tokens, free = self._walk(constraint, answer, learnt, sample.place)
        targets = [Target(len(prompt) + at, tokens[at]) for at in free]
        return self._example(prompt, tokens[:-1] if free and free[-1] == len(tokens) - 1 else tokens, targets)

    def _walk(self, constraint: Constraint, answer: str, learnt: int, place: str) -> tuple[list[int], list[int]]:
        """Follow an answer through its grammar; give its tokens and which of them the model decides.

        Of an answer of which only a beginning is known, `learnt` is its length in bytes: there the walk ends.
        """
        if self._grammars is None:
            raise TypeError("a skill that chooses has no grammar")
        matcher = self._grammars.matcher(constraint)
        rest = answer.encode()
        after = len(rest) - learnt  # bytes that are known to follow, and not learnt
        tokens: list[int] = []
        free: list[int] = []
        begun: list[int] = []  # the further tokens of a character that one token began
        while not after or len(rest) > after:
            for forced in matcher.forced():
                begun = begun[1:] if begun[:1] == [forced] else []
                if after and len(rest) <= after:
                    return tokens, free
                piece = self._vocabulary.piece(forced)
                if not rest.startswith(piece):
                    raise _impossible(place, answer, piece)
                rest = rest[len(piece) :]
                tokens.append(forced)
                matcher.advance(forced)
            if matcher.is_complete():
                break
            if not rest:
                free.append(len(tokens))
                tokens.append(min(self._vocabulary.eog_tokens))
                break
            token, *begun = begun or self._next(rest)
            if not matcher.mask()[token]:
                raise _impossible(place, answer, self._vocabulary.piece(token))
            free.append(len(tokens))
            tokens.append(token)
            rest = rest[len(self._vocabulary.piece(token)) :]
            matcher.advance(token)
        if rest and not after:
            raise _impossible(place, answer, rest[:20])
        return tokens, free

    def _next(self, rest: bytes) -> list[int]:
        """Give the next token; where it ends within a character, as rare letters do, also those that complete it."""
        tokens: list[int] = []
        at = 0
        for token in self._vocabulary.tokenize(rest.decode("utf-8", errors="ignore")[:64], special=False):
            tokens.append(token)
            at += len(self._vocabulary.piece(token))
            if rest[at : at + 1] < b"\x80" or rest[at : at + 1] >= b"\xc0":
                break
        return tokens

    def _prompt(self, own: Mapping[str, Any], text: str, label: Label | None = None) -> tuple[int, ...]:
        return self._chats.encode(render(self._skill, own, text, label=label)).tokens

    def _example(self, prompt: tuple[int, ...], answer: Iterable[int], targets: list[Target]) -> Example:
        begins = _last(prompt, self._invocation) if self._invocation else 0
        return Example((*prompt, *answer), len(prompt), tuple(targets), begins)


def invocation_of(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Tokens that open the answer's turn in the model's chat template: there an activated adapter begins to act."""
    mark = "\u241f"
    encoder = ChatEncoder(vocabulary)
    tokens = encoder.encode(plain_chat("s", "u", mark)).tokens
    payload = tuple(vocabulary.tokenize(mark, special=False))
    return tokens[_last(tokens, payload) + len(payload) :]


def _last(tokens: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    for at in range(len(tokens) - len(wanted), -1, -1):
        if tokens[at : at + len(wanted)] == wanted:
            return at
    raise ValueError("the prompt lacks the tokens that invoke the adapter")


def _written(wanted: Mapping[str, Any], schema: Mapping[str, Any], place: str, *, partial: bool) -> tuple[str, int]:
    """Write an answer as the model would, and tell how many bytes of it are learnt.

    Where a sample wants only the first properties of an answer (a summary without key points), what follows is the name
    of the next one: it decides how the end of the last value is tokenised, and is not learnt.

    Raises:
        SamplesInvalid: a property is missing that comes before one that is there.
    """
    given: Mapping[str, Any] = wanted
    required: Sequence[str] = schema.get("required", ())
    missing = [name for name in schema.get("properties", {}) if name in required and name not in given]
    if not partial or not missing:
        answer = json.dumps(_ordered(wanted, schema), ensure_ascii=False, separators=(",", ":"))
        return answer, len(answer.encode())
    names = list(schema["properties"])
    if later := [name for name in given if names.index(name) > names.index(missing[0])]:
        raise SamplesInvalid(
            f"{place}: the wanted answer has no `{missing[0]}`, and it comes before `{later[0]}`.",
            "Add it: an answer can be learnt from its beginning on only.",
        )
    begun = json.dumps(_ordered(wanted, {**schema, "required": []}), ensure_ascii=False, separators=(",", ":"))[:-1]
    return f'{begun},"{missing[0]}":', len(begun.encode())


def _ordered(value: Any, schema: Any) -> Any:
    """Put an object's keys in the order of its schema, which the answer follows; absent optional ones become null."""
    if isinstance(value, list) and isinstance(schema, Mapping):
        items = cast("Mapping[str, Any]", schema).get("items")
        return [_ordered(item, items) for item in cast("list[Any]", value)]
    if not isinstance(value, Mapping) or not isinstance(schema, Mapping):
        return cast("Any", value)
    given, keywords = cast("Mapping[str, Any]", value), cast("Mapping[str, Any]", schema)
    properties: Mapping[str, Any] = keywords.get("properties", {})
    required: Sequence[str] = keywords.get("required", ())
    known = {
        name: _ordered(given.get(name), properties[name]) for name in properties if name in given or name in required
    }
    return known | {name: inner for name, inner in given.items() if name not in known}


def _impossible(place: str, answer: str, at: bytes) -> SamplesInvalid:
    shown = answer if len(answer) <= 200 else answer[:199] + "…"
    return SamplesInvalid(
        f"{place}: the wanted answer {shown} cannot be given under the skill's schema (at {at!r}).",
        "Correct the sample, or the schema.",
    )
