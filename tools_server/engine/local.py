"""The engine in this process: one thread owns the backend, callers await their one result.

Requests, cancellations and adapter moves reach the thread through one queue, in order. Results come back through
the caller's event loop. Whatever happens, each request is settled exactly once: with its result, with an error, or
not at all when its caller cancelled it.
"""

import asyncio
import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

from tools_server.engine import sequence as sequences
from tools_server.engine.backend import Backend
from tools_server.engine.chat import ChatEncoder
from tools_server.engine.grammar import GrammarCompiler, Matcher
from tools_server.engine.scheduler import Scheduler
from tools_server.engine.trie import Trie
from tools_server.engine.types import (
    Adapter,
    Chat,
    Constraint,
    EngineStats,
    Generation,
    GenerationRequest,
    ModelInfo,
    Prompt,
    ScoreRequest,
    Scores,
)
from tools_server.engine.vocabulary import continuations
from tools_server.errors import (
    AdapterMismatch,
    EngineDied,
    InputTooLong,
    InvalidArguments,
    QueueFull,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")
Answer = Generation | Scores

LONG_TEXT = 20_000
"""Characters from which on tokenising takes long enough to belong into a worker thread."""


@dataclass(slots=True)
class _Submit:
    sequence: sequences.Sequence
    future: "Future[Answer]"


@dataclass(slots=True)
class _Cancel:
    sequence: sequences.Sequence


@dataclass(slots=True)
class _Run:
    """Something to do between two steps, whose result or error goes to `future`."""

    action: Callable[[], None]
    future: "Future[None]"


class _Close:
    pass


class LocalEngine:
    """Implements the `Engine` port over a `Backend`, in a thread of its own."""

    def __init__(self, backend: Backend, *, max_sequences: int = 16, queue_limit: int = 256) -> None:
        self._backend = backend
        self._info = backend.info
        self._queue_limit = queue_limit
        self._max_sequences = max_sequences
        self._scheduler = Scheduler(backend, max_sequences=max_sequences)
        self._chat = ChatEncoder(backend)
        self._grammars = GrammarCompiler(backend)
        self._inbox: queue.SimpleQueue[_Submit | _Cancel | _Run | _Close] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._in_flight: set[Future[Answer]] = set()
        self._death: EngineDied | None = None
        self._seconds_per_request = 1.0
        # A daemon, so that a process whose client has gone is never held back by a long decode.
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    # Text and tokens.

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the loaded model."""
        return self._info

    async def encode(self, chat: Chat) -> Prompt:
        """Apply the chat template and tokenise."""
        length = sum(len(span.text) for message in chat.messages for span in message.content)
        return await _off_the_loop(lambda: self._chat.encode(chat), length)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return await _off_the_loop(lambda: [len(self._tokens(text)) for text in texts], sum(map(len, texts)))

    async def continuations(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Tokenise a closed set, ending a text that is a prefix of another with the end-of-turn token."""
        return continuations(self._backend, texts)

    async def check(self, constraint: Constraint) -> None:
        """Compile a constraint without using it; raises InvalidArguments."""
        await self._matcher(constraint)

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._backend.tokenize(text, special=False))

    # Requests.

    async def generate(self, request: GenerationRequest) -> Generation:
        """Generate; see `Engine.generate`."""
        self._check_size(request.prompt, request.max_tokens, "tokens of answer")
        matcher = await self._matcher(request.constraint)
        answer = await self._submit(
            lambda settle: sequences.GenerationSequence(request, matcher, self._backend, settle)
        )
        if not isinstance(answer, Generation):
            raise TypeError(f"a generation was answered with {type(answer).__name__}")
        return answer

    async def score(self, request: ScoreRequest) -> Scores:
        """Score a closed set; see `Engine.score`."""
        texts = request.continuations
        try:
            trie = Trie(texts)
        except ValueError as error:
            raise InvalidArguments(
                f"The closed set of {len(texts)} cannot be scored: {error}.", "Remove empty and repeated labels."
            ) from error
        prompt = await self.encode(request.prompt) if isinstance(request.prompt, Chat) else request.prompt
        self._check_size(prompt, sum(map(len, texts)), "tokens of labels")
        answer = await self._submit(lambda settle: sequences.ScoreSequence(request, prompt, trie, settle))
        if not isinstance(answer, Scores):
            raise TypeError(f"a scoring was answered with {type(answer).__name__}")
        return answer

    async def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter ready; see `Engine.load_adapter`."""
        self._check_base(adapter)
        await self._run(lambda: self._scheduler.load_adapter(adapter))

    async def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter once no request uses it."""
        await self._run(lambda: self._scheduler.unload_adapter(adapter))

    async def stats(self) -> EngineStats:
        """Counters and load. A snapshot taken while the thread works may be one step old."""
        return self._scheduler.stats()

    async def aclose(self) -> None:
        """End every request with `EngineDied`, stop the thread and free the model."""
        self._inbox.put(_Close())
        await anyio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)

    # The caller's side of a request.

    def _check_size(self, prompt: Prompt, budget: int, what: str) -> None:
        room = self._info.context_tokens
        if not len(prompt):
            raise InvalidArguments("The prompt is empty.", "Give at least one token.")
        if len(prompt) + budget > room:
            raise InputTooLong(
                f"The prompt is {len(prompt):,} tokens and with {budget:,} {what} exceeds the context of {room:,}.",
                "Send less text, ask for a shorter answer, or raise `context_tokens`.",
            )

    def _check_base(self, adapter: Adapter | None) -> None:
        if adapter is not None and adapter.base_sha256 != self._info.sha256:
            raise AdapterMismatch(
                f"Adapter {adapter.name or adapter.sha256[:12]!r} was trained for the base with SHA-256 "
                f"{adapter.base_sha256[:12]}…, but this engine runs {self._info.id} ({self._info.sha256[:12]}…).",
                "Use the adapter that was trained for this model, or serve the model that it was trained for.",
            )

    async def _matcher(self, constraint: Constraint | None) -> Matcher | None:
        if constraint is None:
            return None
        if self._grammars.is_compiled(constraint):
            return self._grammars.matcher(constraint)
        return await anyio.to_thread.run_sync(self._grammars.matcher, constraint)

    async def _submit(self, make: Callable[[sequences.Settle], sequences.Sequence]) -> Answer:
        future: Future[Answer] = Future()
        sequence = make(_settling(future))
        self._check_base(sequence.adapter)
        with self._lock:
            self._raise_if_dead()
            queued = len(self._in_flight) - self._max_sequences
            if queued >= self._queue_limit:
                retry_after = max(1.0, math.ceil(queued * self._seconds_per_request / self._max_sequences))
                raise QueueFull(
                    f"{queued} requests are waiting, the limit is {self._queue_limit}.",
                    f"Try again in about {retry_after:.0f} s.",
                    retry_after=retry_after,
                )
            self._in_flight.add(future)
            self._inbox.put(_Submit(sequence, future))
        try:
            answer = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._inbox.put(_Cancel(sequence))
            raise
        finally:
            with self._lock:
                self._in_flight.discard(future)
        ran = answer.timings.total - answer.timings.queued
        self._seconds_per_request += 0.1 * (ran - self._seconds_per_request)
        return answer

    def _raise_if_dead(self) -> None:
        if self._death is not None:
            raise EngineDied(self._death.message, self._death.hint)

    async def _run(self, action: Callable[[], None]) -> None:
        future: Future[None] = Future()
        with self._lock:
            self._raise_if_dead()
            self._inbox.put(_Run(action, future))
        await asyncio.wrap_future(future)

    # The engine's thread.

    def _work(self) -> None:
        death = EngineDied("The engine was closed.", "Start the server again.")
        try:
            more = False
            while self._drain(wait=not more):
                more = self._scheduler.step()
        except Exception as error:
            _log.exception("the engine's thread failed")
            death = EngineDied(
                f"The engine stopped: {type(error).__name__}: {error}.", "Restart the server; the log has the details."
            )
        finally:
            self._die(death)

    def _drain(self, *, wait: bool) -> bool:
        """Take over what has arrived; with `wait`, until something does. False when the engine is to stop."""
        while True:
            try:
                command = self._inbox.get(block=wait)
            except queue.Empty:
                return True
            wait = False
            match command:
                case _Submit(sequence):
                    self._scheduler.submit(sequence)
                case _Cancel(sequence):
                    self._scheduler.cancel(sequence)
                case _Run(action, future):
                    try:
                        action()
                    except Exception as error:
                        _set(future, error)
                    else:
                        _set(future, None)
                case _Close():
                    return False

    def _die(self, death: EngineDied) -> None:
        with self._lock:
            self._death = death
            left = list(self._in_flight)
        for future in left:
            _set(future, death)
        # Whatever was put in before `_death` was set is here now; nothing can follow it.
        while not self._inbox.empty():
            command = self._inbox.get()
            match command:
                case _Submit(_, future):
                    _set(future, death)
                case _Run(_, future):
                    _set(future, death)
                case _:
                    pass
        self._backend.close()


async def _off_the_loop(function: Callable[[], T], length: int) -> T:
    """Run `function` here if its text is short, else in a worker thread."""
    if length < LONG_TEXT:
        return function()
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def _settling(future: "Future[Answer]") -> sequences.Settle:
    return lambda answer: _set(future, answer)


def _set(future: "Future[T]", answer: T | Exception) -> None:
    """Settle a future; one whose caller has gone is left alone."""
    try:
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
    except InvalidStateError:
        _log.debug("an answer came after its caller had gone")
