"""An engine that counts special tokens where none may be, and one whose prompts are not escaped, as the control.

Both stand behind the port that every engine implements, so nothing in the product knows of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

from tools_server.engine.chat import ChatEncoder
from tools_server.engine.llama_library import llama
from tools_server.engine.llama_vocabulary import LlamaVocabulary
from tools_server.engine.types import Chat, Engine, Generation, GenerationRequest, Prompt, ScoreRequest, Scores, Span


class SpecialTokens(LlamaVocabulary):
    """A model's vocabulary that tells which tokens text must not become."""

    def special(self, tokens: Iterable[int]) -> list[int]:
        """Those of some tokens that steer the model: control tokens, and any that end a turn."""
        ends = self.eog_tokens
        return [token for token in tokens if llama.llama_vocab_is_control(self._vocab, token) or token in ends]

    def added(self, tokens: Iterable[int]) -> list[int]:
        """Those that were added to the vocabulary as whole words, and that llama.cpp takes for no control tokens."""
        return [
            token
            for token in tokens
            if llama.llama_vocab_get_attr(self._vocab, token) & llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        ]

    def forged_by(self, text: str) -> list[int]:
        """The special tokens that a text would become if it were tokenised as the template's own."""
        return self.special(self.tokenize(text, special=True))


class Unescaped:
    """The same vocabulary, except that special tokens are parsed everywhere: what naive joining of text does."""

    def __init__(self, vocabulary: LlamaVocabulary) -> None:
        self._vocabulary = vocabulary

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vocabulary, name)

    def tokenize(self, text: str, *, special: bool) -> list[int]:  # noqa: ARG002 - that it is ignored is the point
        return self._vocabulary.tokenize(text, special=True)


@dataclass(slots=True)
class Sightings:
    """What was seen: prompts, those in which a caller's text became special tokens, answers with such tokens."""

    prompts: int = 0
    forged_prompts: int = 0
    special_answers: int = 0


class WatchedEngine:
    """Passes everything on to an engine and looks at prompts and answers; with `escaped` off, payload is parsed."""

    def __init__(self, engine: Engine, vocabulary: SpecialTokens, *, escaped: bool = True) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._template = ChatEncoder(vocabulary)
        self._encode = engine.encode if escaped else self._encode_unescaped
        self._unescaped = ChatEncoder(Unescaped(vocabulary))  # type: ignore[arg-type] - the rest is passed on
        self.seen = Sightings()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @property
    def port(self) -> Engine:
        """This as what it is to its callers; what is not defined here is passed on."""
        return cast("Engine", self)

    async def encode(self, chat: Chat) -> Prompt:
        """Tokenise, and compare the special tokens with those of the same chat with harmless payload."""
        prompt = await self._encode(chat)
        harmless = self._template.encode(_with_payload(chat, "x"))
        self.seen.prompts += 1
        expected, found = self._vocabulary.special(harmless.tokens), self._vocabulary.special(prompt.tokens)
        self.seen.forged_prompts += found != expected
        return prompt

    async def score(self, request: ScoreRequest) -> Scores:
        """Score; a chat is encoded here, as the engine would."""
        if isinstance(request.prompt, Chat):
            request = replace(request, prompt=await self.encode(request.prompt))
        return await self._engine.score(request)

    async def generate(self, request: GenerationRequest) -> Generation:
        """Generate, and look for special tokens in the answer."""
        generation = await self._engine.generate(request)
        self.seen.special_answers += bool(self._vocabulary.special(token.id for token in generation.tokens))
        return generation

    async def _encode_unescaped(self, chat: Chat) -> Prompt:
        return self._unescaped.encode(chat)


def _with_payload(chat: Chat, text: str) -> Chat:
    messages = tuple(
        replace(message, content=tuple(Span(text, True) if span.payload else span for span in message.content))
        for message in chat.messages
    )
    return replace(chat, messages=messages)
