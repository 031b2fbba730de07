"""Constraints compiled through Outlines to llguidance grammars, and one matcher for each sequence.

Outlines turns types into terms (`outlines.types`) and terms into grammars (`LLGuidanceBackend`). Its logits
processors are not used: they run inside a ctypes callback, where an exception is printed and ignored and the text
comes out unconstrained, and they fix the batch at the first token. Here the scheduler asks the matcher itself.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, cast

import llguidance
import llguidance.numpy
import numpy as np
from jsonschema.exceptions import SchemaError
from numpy.typing import NDArray
from outlines.backends.llguidance import LLGuidanceBackend
from outlines.types import Choice, JsonSchema, Regex
from outlines.types.dsl import to_regex

from tools_server.engine.backend import Vocabulary
from tools_server.engine.digits import Digits
from tools_server.engine.schema_support import first_unsupported, locate, readable, without_marks
from tools_server.engine.spans import SpanGrammar
from tools_server.engine.types import Constraint, ConstraintKind
from tools_server.errors import DecodeFailed, InvalidArguments

CACHED_GRAMMARS = 128
"""Compiled constraints that are kept. A caller's schema is usually used many times in a row. What is compiled for one
text is not kept: the next call has another one."""

SPAN_KINDS = {ConstraintKind.SPANS: False, ConstraintKind.ALL_SPANS: True}
"""Kinds that copy from a text, and whether they do so wherever they can."""

JSON_KINDS = {ConstraintKind.JSON_SCHEMA, *SPAN_KINDS}
"""Kinds whose answers are JSON, and so may have numbers."""


class _Outlines(LLGuidanceBackend):
    """Outlines' llguidance backend over our own tokenizer, which it would otherwise take from a model of its own."""

    def _create_llg_tokenizer(self, model: Any) -> Any:
        return model.backend.llg_tokenizer()


@dataclass(frozen=True, slots=True)
class _Model:
    """The two things that Outlines' backend asks of a model."""

    backend: Vocabulary
    tensor_library_name: str = "numpy"


class Matcher:
    """Where one sequence stands in its grammar."""

    def __init__(self, matcher: Any, vocabulary: int, digits: Digits | None) -> None:
        """`digits` bounds the numbers of an answer that is JSON."""
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._digits = digits
        self._bits = np.zeros((1, (vocabulary + 31) // 32), dtype=np.int32)

    def mask(self) -> NDArray[np.bool_]:
        """Tokens allowed next, shape (vocabulary,).

        Raises:
            DecodeFailed: the grammar hit a limit of the backend.
        """
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        self._raise_on_error()
        bits = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little", count=self._vocabulary)
        allowed = bits.view(np.bool_)
        return allowed if self._digits is None else self._digits.bound(allowed)

    def advance(self, token: int) -> None:
        """Take a token over.

        Raises:
            DecodeFailed: the grammar does not allow it.
        """
        self._matcher.consume_token(token)
        self._raise_on_error()
        if self._digits is not None:
            self._digits.advance(token)

    def forced(self) -> list[int]:
        """Tokens that must come next whatever the model thinks; they are not taken over yet."""
        return self._matcher.compute_ff_tokens()

    def is_complete(self) -> bool:
        """Whether nothing more may follow."""
        return self._matcher.is_stopped()

    def _raise_on_error(self) -> None:
        if self._matcher.is_error():
            raise DecodeFailed(
                f"The constraint failed while decoding: {readable(self._matcher.get_error())}.",
                "Simplify the schema (fewer nested alternatives, shorter patterns).",
            )


class GrammarCompiler:
    """Compiles constraints for one vocabulary; safe to use from several threads."""

    def __init__(self, backend: Vocabulary) -> None:
        self._outlines = _Outlines(cast(Any, _Model(backend)))
        self._tokenizer: Any = cast(Any, self._outlines).llg_tokenizer
        self._backend = backend
        self._compiled: OrderedDict[Constraint, Any] = OrderedDict()
        self._lock = Lock()

    def is_compiled(self, constraint: Constraint) -> bool:
        """Whether `matcher` will answer at once."""
        return constraint in self._compiled

    def matcher(self, constraint: Constraint) -> Matcher:
        """Make a matcher at the start of the constraint's language.

        Raises:
            InvalidArguments: the backend cannot honour the constraint; names JSON path and keyword for a schema.
        """
        digits = Digits(self._backend.piece) if constraint.kind in JSON_KINDS else None
        return Matcher(self._start(constraint), self._backend.vocabulary_size, digits)

    def _start(self, constraint: Constraint) -> Any:
        if constraint.kind in SPAN_KINDS:
            grammar = cast(SpanGrammar, self._kept(replace(constraint, text="")))
            if grammar.copies:
                return self._joined(grammar, constraint.text)
            constraint = Constraint(ConstraintKind.JSON_SCHEMA, constraint.source)
        return self._kept(constraint).deep_copy()

    def _kept(self, constraint: Constraint) -> Any:
        """Give what was compiled for a constraint before, or compile it."""
        with self._lock:
            compiled = self._compiled.get(constraint)
            if compiled is not None:
                self._compiled.move_to_end(constraint)
                return compiled
        compiled = self._compile(constraint)
        with self._lock:
            self._compiled[constraint] = compiled
            while len(self._compiled) > CACHED_GRAMMARS:
                self._compiled.popitem(last=False)
        return compiled

    def _joined(self, grammar: SpanGrammar, text: str) -> Any:
        matcher = self._new(grammar.lark(text))
        if matcher.is_error():
            raise InvalidArguments(
                f"Values cannot be copied from this text of {len(text):,} characters: {readable(matcher.get_error())}.",
                "Send a shorter text.",
            )
        return matcher

    def _compile(self, constraint: Constraint) -> Any:
        if constraint.kind in SPAN_KINDS:
            self._compile_schema(constraint.source)  # refuses what cannot be enforced, by its place in the schema
            return SpanGrammar(json.loads(constraint.source), everywhere=SPAN_KINDS[constraint.kind])
        if constraint.kind is ConstraintKind.JSON_SCHEMA:
            return self._compile_schema(constraint.source)
        if constraint.kind is ConstraintKind.CHOICE:
            pattern = to_regex(Choice(json.loads(constraint.source)))
        else:
            pattern = Regex(constraint.source).pattern
        matcher = self._new(self._outlines.get_regex_logits_processor(pattern).grammar)
        if matcher.is_error():
            raise InvalidArguments(
                f"The {constraint.kind} constraint cannot be enforced: {readable(matcher.get_error())}.",
                "Lookarounds and back references are not supported.",
            )
        return matcher

    def _compile_schema(self, source: str) -> Any:
        schema = json.loads(source)
        problem = first_unsupported(schema)
        schema = without_marks(schema)
        if problem is None:
            matcher, error = self._try_schema(schema)
            if matcher is not None:
                return matcher
            problem = locate(schema, lambda part: self._try_schema(part)[1]) or ("$", "", error)
        path, keyword, reason = problem
        at = f"{path}, keyword `{keyword}`" if keyword else path
        raise InvalidArguments(
            f"The JSON Schema cannot be enforced at {at}: {reason}.",
            "Remove or rephrase that keyword; docs/schemas.md lists what is supported.",
        )

    def _try_schema(self, schema: Any) -> tuple[Any | None, str]:
        """Compile a schema to a matcher, or tell why that fails."""
        # Compact JSON: white space costs tokens and carries nothing.
        options = {"x-guidance": {"whitespace_flexible": False}}
        whole = cast(dict[str, Any], schema if isinstance(schema, dict) else {"allOf": [schema]})
        body = whole | options
        try:
            # Without ensure_ascii=False a non-ASCII property name would be spelt, and so forced, as \\u escapes.
            term = JsonSchema(json.dumps(body, ensure_ascii=False))
        except SchemaError as error:
            return None, error.message
        matcher = self._new(self._outlines.get_json_schema_logits_processor(term.schema).grammar)
        return (None, matcher.get_error()) if matcher.is_error() else (matcher, "")

    def _new(self, grammar: str) -> Any:
        return llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
