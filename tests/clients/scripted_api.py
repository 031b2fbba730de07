"""A stand-in for Anthropic's Messages API on this machine: it plays a script and keeps what the client sent.

The script is a list of content blocks, one per turn of the agent loop: first a `tool_use`, then, once the client has
sent the tool's result, the next block. Requests that carry no tools (titles, topic guesses) are answered with a word
and do not advance the script.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


def tool_use(name: str, arguments: Json) -> Json:
    return {"type": "tool_use", "id": "toolu_scripted", "name": name, "input": arguments}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


@dataclass
class ScriptedApi:
    """`requests` are the bodies of the agent's requests, in order; `url` is what ANTHROPIC_BASE_URL takes."""

    url: str
    script: Sequence[Json]
    requests: list[Json] = field(default_factory=list[Json])

    def answer(self, body: Json) -> Json:
        """Give the content block for one request."""
        if not body.get("tools"):
            return text("ok")
        self.requests.append(body)
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        return self.script[min(turn, len(self.script) - 1)]

    def tool_results(self) -> list[Json]:
        """Every `tool_result` block that the client sent in its last request."""
        contents = [message["content"] for message in self.requests[-1]["messages"] if message["role"] == "user"]
        blocks = [block for content in contents if isinstance(content, list) for block in content]
        return [block for block in blocks if block["type"] == "tool_result"]


@contextmanager
def scripted_api(script: Sequence[Json]) -> Iterator[ScriptedApi]:
    """Serve `script` on a free port of this machine for as long as the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    api = ScriptedApi(url=f"http://127.0.0.1:{server.server_address[1]}", script=script)
    server.api = api  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: pytest shows the client's own output when a test fails."""

    def do_HEAD(self) -> None:
        self._send(200, "text/plain", b"")

    def do_GET(self) -> None:
        self._send(404, "application/json", b"{}")

    def do_POST(self) -> None:
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        if path == "/v1/messages/count_tokens":
            return self._send(200, "application/json", b'{"input_tokens": 1}')
        if path != "/v1/messages":
            return self._send(404, "application/json", b"{}")
        block = self.server.api.answer(body)  # type: ignore[attr-defined]
        message = _message(body, block)
        if body.get("stream"):
            return self._send(200, "text/event-stream", _events(message, block))
        return self._send(200, "application/json", json.dumps(message).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _message(body: Json, block: Json) -> Json:
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [block],
        "stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _events(message: Json, block: Json) -> bytes:
    """Spell one message as the server-sent events in which the API streams it."""
    if block["type"] == "tool_use":
        start, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    else:
        start, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    events: list[Json] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
