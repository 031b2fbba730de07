"""Closed sets in tokens."""

from collections.abc import Sequence

from tools_server.engine.backend import Tokenizer

__all__ = ["continuations"]


def continuations(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Tokenise a closed set, ending a text that is a prefix of another with the end-of-turn token."""
    plain = [tuple(tokenizer.tokenize(text, special=False)) for text in texts]
    end = min(tokenizer.eog_tokens)
    return tuple(
        (*tokens, end) if any(other != tokens and other[: len(tokens)] == tokens for other in plain) else tokens
        for tokens in plain
    )
