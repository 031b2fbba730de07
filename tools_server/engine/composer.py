"""What goes into one decode: tokens of answers, labels that are scored, chunks of prefill.

Runs on the engine's thread.
"""

from dataclasses import dataclass

from tools_server.engine.backend import Backend, Batch
from tools_server.engine.cache import KvCache
from tools_server.engine.sequence import GenerationSequence, ScoreSequence, Sequence
from tools_server.engine.trie import Node

__all__ = ["JOINING_BATCHES", "MIXED_TOKENS", "Composer", "Output"]

MIXED_TOKENS = 63
"""Tokens up to which a batch holds answers and prefill together. From 64 on, llama.cpp's attention on a CPU works
in tiles of 64 tokens, and each tile looks at every cell that any of its tokens attends to: next to tokens of many
sequences, a prefill would pay for the cells of all of them (docs/experiments.md)."""

JOINING_BATCHES = 4
"""Batches of prefill that answers wait for, at most, while prompts of further answers are prefilled."""


@dataclass(slots=True)
class Output:
    """Who gets a logits row: a sequence after its last pending token, or a trie node of it."""

    sequence: Sequence
    node: Node | None = None


class Composer:
    """Fills batches in turn, so that neither answers nor prefill wait for long."""

    def __init__(self, backend: Backend, cache: KvCache) -> None:
        self._backend = backend
        self._cache = cache
        self._answered_last = False  # the last decode had tokens of answers, so the next may be a prefill
        self._joined = 0  # tokens prefilled since then

    def compose(self, group: list[Sequence], batch: Batch, outputs: list[Output]) -> list[tuple[Sequence, int]]:
        """Fill a batch from the sequences of one adapter; returns how many tokens each has in it."""
        answering = [s for s in group if s.pending and not s.prefilling]
        prefilling = [s for s in group if s.pending and s.prefilling]
        separate = sum(len(s.pending) for s in group) > MIXED_TOKENS
        # While others generate, prefill takes half a batch at most: that bounds the wait for their next token.
        chunk = self._backend.n_batch // 2 if answering else self._backend.n_batch
        taken: list[tuple[Sequence, int]] = []
        if not (separate and prefilling and (self._answered_last or self._worth_waiting(group, chunk))):
            taken += self._take_pending(answering, batch, outputs, limit=self._backend.n_batch)
            taken += self._take_score_steps(group, batch, outputs)
        self._answered_last = len(batch) > 0
        if self._answered_last:
            self._joined = 0
        if not (separate and self._answered_last):
            # The oldest is sure of half of it; the rest goes to the shortest first, so that nobody sits behind a book.
            oldest, others = prefilling[:1], sorted(prefilling[1:], key=lambda s: len(s.pending))
            sure = min(chunk // 2, sum(len(s.pending) for s in oldest))
            for_others = min(chunk - sure, sum(len(s.pending) for s in others))
            taken += self._take_pending(oldest, batch, outputs, limit=chunk - for_others)
            taken += self._take_pending(others, batch, outputs, limit=for_others)
            self._joined += sum(count for _, count in taken)
        return taken

    def _worth_waiting(self, group: list[Sequence], chunk: int) -> bool:
        """Whether answers gain by waiting for prompts of a chunk or less, whose answers are then decoded with theirs.

        Labels that are being scored gain nothing. The wait is bounded, or an unending stream of answers of one token
        could hold up a long one.
        """
        if self._joined >= JOINING_BATCHES * self._backend.n_batch:
            return False
        if any(isinstance(s, ScoreSequence) and not s.pending for s in group):
            return False
        return any(isinstance(s, GenerationSequence) and s.prefilling and len(s.pending) <= chunk for s in group)

    def _take_score_steps(
        self, group: list[Sequence], batch: Batch, outputs: list[Output]
    ) -> list[tuple[Sequence, int]]:
        taken: list[tuple[Sequence, int]] = []
        for sequence in group:
            if not isinstance(sequence, ScoreSequence) or sequence.pending:
                continue
            self._cache.give_leaves(sequence)
            room = min(self._backend.n_batch - len(batch), self._backend.n_outputs - batch.n_outputs)
            count = min(room, len(sequence.steps))
            for _ in range(count):
                step = sequence.steps.popleft()
                batch.add(step.token, step.position, step.sequences, output=step.node is not None)
                if step.node is not None:
                    outputs.append(Output(sequence, step.node))
            if count:
                # Leaves hold these cells, not the slot: nothing is added to `decoded`.
                taken.append((sequence, 0))
        return taken

    def _take_pending(
        self, sequences: list[Sequence], batch: Batch, outputs: list[Output], *, limit: int
    ) -> list[tuple[Sequence, int]]:
        taken: list[tuple[Sequence, int]] = []
        for sequence in sequences:
            count = min(self._backend.n_batch - len(batch), limit, len(sequence.pending))
            if sequence.decoded < (sequence.activation or 0):
                count = min(count, (sequence.activation or 0) - sequence.decoded)
            if count == len(sequence.pending) and batch.n_outputs == self._backend.n_outputs:
                count -= 1  # no row left for its logits: its last token waits for the next step
            if count <= 0:
                continue
            limit -= count
            for offset in range(count):
                token = sequence.pending.popleft()
                batch.add(token, sequence.decoded + offset, (sequence.slot,), output=not sequence.pending)
            if not sequence.pending:
                outputs.append(Output(sequence))
            taken.append((sequence, count))
        return taken
