"""Pulling: a file is there when it is whole and right, else it is not there."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.unit.data.data_fakes import DataSet, label_rows
from tools_server.data import pull as module
from tools_server.data.pull import pull
from tools_server.data.recipe import Recipe
from tools_server.errors import DataNotFound, DataUnreachable

URL = "https://data.example/train.jsonl"
MAPPING = {"kind": "label", "skill": "classify", "splits": ["train"], "labels": "fixed"}


@pytest.fixture
def recipe(data: DataSet) -> Recipe:
    return data.split("train", label_rows(3), url=URL).recipe(MAPPING)


@pytest.fixture
def content(recipe: Recipe, data: DataSet) -> bytes:
    """What the address delivers; the file itself is gone from the folder."""
    path = data.folder / "tiny/train.jsonl"
    delivered = path.read_bytes()
    path.unlink()
    return delivered


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.Client:
    return httpx2.Client(transport=httpx2.MockTransport(answer))


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_verified_and_named_and_not_fetched_again(recipe: Recipe, content: bytes, data: DataSet):
    asked: list[str] = []
    told: list[tuple[int, int | None, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(200, content=content)

    def tell(done: int, total: int | None, what: str) -> None:
        told.append((done, total, what))

    path = data.folder / "tiny/train.jsonl"
    assert pull(recipe, data.folder, tell, client=client(answer)) == [path]
    assert path.read_bytes() == content
    assert told[-1] == (len(content), len(content), "downloading tiny/train.jsonl")
    assert pull(recipe, data.folder, tell, client=client(answer)) == []
    assert asked == [URL]
    assert left(data.folder) == ["train.jsonl"]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx2.Response(200, content=b"other bytes"), "pins"),
        (httpx2.Response(404), "404"),
        (httpx2.Response(200, content=b"x" * 3000), "sends more than 2,000 bytes"),
    ],
)
def test_whatever_is_not_the_pinned_file_leaves_nothing_behind(
    recipe: Recipe,
    content: bytes,
    data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    response: httpx2.Response,
    said: str,
):
    monkeypatch.setattr(module, "MAX_BYTES", 2000)
    with pytest.raises(DataUnreachable) as error:
        pull(recipe, data.folder, lambda *_: None, client=client(lambda _: response))
    assert URL in error.value.message
    assert said in error.value.message
    assert error.value.hint
    assert left(data.folder) == []


def test_a_connection_that_fails_is_told_with_the_address(recipe: Recipe, content: bytes, data: DataSet):
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route to host")

    with pytest.raises(DataUnreachable, match=f"{URL} did not deliver tiny/train.jsonl.*no route to host"):
        pull(recipe, data.folder, lambda *_: None, client=client(answer))


def test_a_file_without_an_address_is_told_with_its_homepage(data: DataSet):
    recipe = data.split("train", label_rows(3)).recipe(MAPPING)
    assert pull(recipe, data.folder, lambda *_: None) == [], "it is here"
    (data.folder / "tiny/train.jsonl").unlink()
    with pytest.raises(DataNotFound) as error:
        pull(recipe, data.folder, lambda *_: None)
    assert "names no address for tiny/train.jsonl" in error.value.message
    assert "https://data.example/tiny" in error.value.hint
