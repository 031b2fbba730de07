"""A small data set on disk: files, their pins, and a recipe that knows both."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools_server.data.recipe import Recipe

LABELS = ("card arrival", "top up failed", "exchange rate", "lost card", "out of scope")


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)


def label_rows(count: int, *, labels: Sequence[str] = LABELS[:4]) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "text": f"message {i}", "label": labels[i % len(labels)]} for i in range(count)]


class DataSet:
    """Writes files into a folder and makes a recipe that pins them as they are."""

    def __init__(self, folder: Path, name: str = "tiny") -> None:
        self.folder = folder
        self.name = name
        self._files: dict[str, dict[str, Any]] = {}
        self._labels: dict[str, Any] | None = None

    def split(self, name: str, rows: Sequence[Any], **changes: Any) -> "DataSet":
        self._files[name] = {**self._pin(f"{name}.jsonl", lines(*rows)), "records": len(rows), **changes}
        return self

    def labels(self, *entries: Mapping[str, Any] | str) -> "DataSet":
        listed = [{"name": each, "description": None} if isinstance(each, str) else each for each in entries]
        self._labels = self._pin("labels.json", json.dumps(listed))
        return self

    def recipe(self, *samples: Mapping[str, Any], **changes: Any) -> Recipe:
        values = {
            "name": self.name,
            "title": "A tiny set",
            "language": "en",
            "licence": "CC0-1.0",
            "attribution": "Nobody in particular.",
            "homepage": "https://data.example/tiny",
            "files": self._files,
            "labels": self._labels,
            "samples": list(samples),
        }
        return Recipe.model_validate({**values, **changes})

    def _pin(self, file: str, content: str) -> dict[str, str]:
        path = self.folder / self.name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
        return {"path": f"{self.name}/{file}", "sha256": hashlib.sha256(content.encode()).hexdigest()}
