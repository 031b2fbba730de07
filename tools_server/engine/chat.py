"""From a chat to prompt tokens, with the model's own chat template.

The template is rendered with a placeholder for each message, and the pieces are tokenised apart: only what the
template itself wrote is parsed for control tokens. Text such as `<|im_end|>` in a document stays text, so a document
cannot end its own message, whatever it says.
"""

import secrets
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tools_server.engine.backend import Vocabulary
from tools_server.engine.types import Chat, Message, Prompt, Span
from tools_server.errors import ModelLoadFailed

MIN_PREFIX = 8
"""Prefixes shorter than this many tokens are not worth a sequence id."""

DOCUMENT = 128
"""Payloads of this many tokens are kept for the next question about them."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For a GGUF without a template: the most common format."""


class ChatEncoder:
    """Encodes chats for one model; safe to use from several threads.

    Raises:
        ModelLoadFailed: the model's chat template is not valid Jinja.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        # What chat templates expect to find, as Hugging Face's renderer defines it.
        helpers: dict[str, Any] = {"raise_exception": _raise, "strftime_now": datetime.now(UTC).strftime}
        environment.globals.update(helpers)
        source = vocabulary.chat_template or CHATML
        try:
            self._template = environment.from_string(source)
            self._render(plain_chat("s", "u", "p").messages, "mark")
        except TemplateError as error:
            raise ModelLoadFailed(
                f"The chat template of {vocabulary.model_id} is unusable: {error}.", "Serve another model."
            ) from error
        bos = vocabulary.special_texts.get("bos_token", "")
        self._bos = tuple(vocabulary.tokenize(bos, special=True)) if vocabulary.adds_bos and bos else ()

    def encode(self, chat: Chat) -> Prompt:
        """Tokenise a chat up to where the answer begins.

        Shareable prefixes end before the first payload (what every call of a skill has in common), before the last one
        (what calls with the same arguments have in common), and behind a payload that is long enough to be a document
        (what calls about the same document have in common).
        """
        mark = secrets.token_hex(8)
        rendered = self._render(chat.messages, mark)
        tokens: list[int] = []
        payloads: list[int] = []
        documents: list[int] = []
        for index, piece in enumerate(rendered.split(mark)):
            if index % 2 == 0:
                tokens += self._vocabulary.tokenize(piece, special=True)
                continue
            for span in chat.messages[int(piece)].content:
                if span.payload:
                    payloads.append(len(tokens))
                tokens += self._vocabulary.tokenize(span.text, special=False)
                if span.payload and len(tokens) - payloads[-1] >= DOCUMENT:
                    documents.append(len(tokens))
        tokens += self._vocabulary.tokenize(chat.assistant_prefix, special=False)
        if self._bos and tuple(tokens[: len(self._bos)]) != self._bos:
            tokens[:0] = self._bos
            payloads, documents = ([at + len(self._bos) for at in ends] for ends in (payloads, documents))
        ends = {payloads[0], payloads[-1], *documents[-1:]} if payloads else set[int]()
        return Prompt(tuple(tokens), tuple(sorted(end for end in ends if MIN_PREFIX <= end < len(tokens))))

    def _render(self, messages: tuple[Message, ...], mark: str) -> str:
        plain: list[dict[str, Any]] = [
            {"role": message.role, "content": f"{mark}{index}{mark}"} for index, message in enumerate(messages)
        ]
        try:
            text = self._apply(plain)
        except TemplateError:
            # Some templates know no system role: what it says then opens the first user message.
            if len(plain) < 2 or plain[0]["role"] != "system":
                raise
            merged = {**plain[1], "content": plain[0]["content"] + "\n\n" + plain[1]["content"]}
            text = self._apply([merged, *plain[2:]])
        # A template that opens hidden reasoning would let it eat the answer's budget: it is closed at once.
        return text.rstrip() + "\n\n</think>\n\n" if text.rstrip().endswith("<think>") else text

    def _apply(self, messages: list[dict[str, Any]]) -> str:
        return self._template.render(
            messages=messages,
            add_generation_prompt=True,
            enable_thinking=False,
            tools=None,
            **self._vocabulary.special_texts,
        )


def plain_chat(system: str, user: str, payload: str) -> Chat:
    """Make a chat of a system message and a user message that ends in the payload: for tests and benchmarks."""
    return Chat((Message("system", (Span(system),)), Message("user", (Span(user), Span(payload, payload=True)))))


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
