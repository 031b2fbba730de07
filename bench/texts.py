"""Texts to work on: hand-written parts, put together anew for every round, so that no side can answer from memory."""

import random
from collections.abc import Callable
from itertools import product

from bench.parts import CUSTOMERS, DAYS, MAILS, MESSAGES, PEOPLE, SENTENCES, TEAMS, TOPICS

SEED = 20
LABELS = tuple(MESSAGES)
"""What the short messages are sorted by: six subjects."""

SENTENCES_EACH = 4
"""Of a paragraph: about 70 words."""

DOCUMENT_PARAGRAPHS = 18
"""Of a document: about 2,000 tokens."""

MOST_WORDS = 12
"""Of a short message, which is then 10 to 16 tokens long."""

FIRST_ORDER = 10_000


class TextsUsedUp(Exception):
    """More messages were asked for than can be put together without repeating one."""


class Texts:
    """Gives out texts, none twice; under a key that was used before, the same once more: both sides get them."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = random.Random(seed)
        messages = (" ".join(parts) for columns in MESSAGES.values() for parts in product(*columns))
        self._messages = [message for message in messages if len(message.split()) <= MOST_WORDS]
        self._random.shuffle(self._messages)
        self._numbers = 0
        self._given: dict[tuple[str, str, int], list[str]] = {}

    def messages(self, key: str, round_number: int, count: int) -> list[str]:
        """Short messages of customers, 8 to 12 words each, that begin in many ways: none helps with another.

        Raises:
            TextsUsedUp: all are given out.
        """
        return self._once("messages", key, round_number, count, self._message)

    def mails(self, key: str, round_number: int, count: int) -> list[str]:
        """Mails that state an order number and some of: customer, product, price, date."""
        return self._once("mails", key, round_number, count, self._mail)

    def paragraphs(self, key: str, round_number: int, count: int) -> list[str]:
        """Paragraphs of about 70 words, as in the minutes of a company."""
        return self._once("paragraphs", key, round_number, count, self._paragraph)

    def documents(self, key: str, round_number: int, count: int) -> list[str]:
        """Documents of about 2,000 tokens."""
        return self._once("documents", key, round_number, count, self._document)

    def _once(self, kind: str, key: str, round_number: int, count: int, make: Callable[[], str]) -> list[str]:
        place = (kind, key, round_number)
        if place not in self._given:
            self._given[place] = [make() for _ in range(count)]
        return self._given[place]

    def _message(self) -> str:
        if not self._messages:
            raise TextsUsedUp("every short message has been used; run fewer rounds or sections at a time")
        return self._messages.pop()

    def _mail(self) -> str:
        self._numbers += 1
        mail = self._random.choice(MAILS).format(who=self._random.choice(CUSTOMERS))
        return f"Order {FIRST_ORDER + self._numbers}: {mail}"

    def _paragraph(self) -> str:
        # A fact that no other paragraph has comes first: what follows it is then in no cache of prompts.
        self._numbers += 1
        day, who = self._random.choice(DAYS), self._random.choice(PEOPLE)
        first = f"{self._numbers} guests came on {day}, as {who} noted."
        return " ".join([first, *map(self._sentence, self._random.sample(SENTENCES, SENTENCES_EACH))])

    def _sentence(self, pattern: str) -> str:
        draw = self._random
        return pattern.format(
            who=draw.choice(PEOPLE),
            team=draw.choice(TEAMS),
            topic=draw.choice(TOPICS),
            day=draw.choice(DAYS),
            n=draw.randint(2, 90),
        )

    def _document(self) -> str:
        self._numbers += 1
        title = f"{self._random.choice(DAYS)}'s minutes no. {self._numbers}"
        return "\n\n".join([title, *(self._paragraph() for _ in range(DOCUMENT_PARAGRAPHS))])
