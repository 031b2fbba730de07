"""What text becomes as tokens."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.conftest import MODEL
from tools_server.engine.llama_vocabulary import LlamaVocabulary

ADDED = "<repo_name>"
"""A control token of SmolLM2."""

CONTROL, USER_DEFINED = 3, 4
"""Types of tokens in a GGUF file."""


@pytest.fixture(scope="module")
def vocabulary(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaVocabulary]:
    """That of SmolLM2 with one word added the way Qwen2.5 has `<tool_call>`: not as a control token."""
    plain = LlamaVocabulary(weights, model_id=MODEL)
    (token,) = plain.tokenize(ADDED, special=True)
    assert plain.tokenize(ADDED, special=False) != [token]
    plain.close()

    content = bytearray(weights.read_bytes())
    key = b"tokenizer.ggml.token_type"
    types = content.index(key) + len(key) + 4 + 4 + 8  # behind the types of the value and its items, and their number
    place = types + 4 * token
    assert struct.unpack_from("<i", content, place) == (CONTROL,)
    struct.pack_into("<i", content, place, USER_DEFINED)
    changed = tmp_path_factory.mktemp("vocabulary") / "added.gguf"
    changed.write_bytes(content)

    found = LlamaVocabulary(changed, model_id=MODEL)
    yield found
    found.close()
    changed.unlink()


def test_a_word_that_the_vocabulary_adds_is_ordinary_text_unless_the_template_says_it(vocabulary: LlamaVocabulary):
    (token,) = vocabulary.tokenize(ADDED, special=True)
    text = f"a {ADDED}{ADDED} b"
    assert vocabulary.tokenize(text, special=True).count(token) == 2
    plain = vocabulary.tokenize(text, special=False)
    assert token not in plain
    assert b"".join(map(vocabulary.piece, plain)).decode() == text
