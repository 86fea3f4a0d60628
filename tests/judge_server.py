"""An OpenAI-compatible server of a test's own: it answers with a real language model, and as badly as a test asks."""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Completion = Callable[[str, int], list[tuple[str, float]]]
"""(prompt, count) to the likeliest first tokens with their natural logarithms, the likeliest first."""


class JudgeServer:
    """Chat completions on loopback. `faults` are taken one per request, None for a sound answer."""

    model = "judge"

    def __init__(self, complete: Completion, *, probabilities: bool = True, key: str | None = None) -> None:
        self.complete, self.probabilities, self.key = complete, probabilities, key
        self.faults: deque[str | None] = deque()
        self.asked: list[str] = []
        self.busy = self.busiest = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner._lock:
                    owner.asked.append(body["messages"][0]["content"])
                    owner.busy += 1
                    owner.busiest = max(owner.busiest, owner.busy)
                    fault = owner.faults.popleft() if owner.faults else None
                try:
                    owner._answer(self, body, fault)
                finally:
                    with owner._lock:
                        owner.busy -= 1

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "JudgeServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any], fault: str | None) -> None:
        if self.key is not None and request.headers["Authorization"] != f"Bearer {self.key}":
            given = request.headers["Authorization"].removeprefix("Bearer ")
            return _send(request, 401, {"error": {"message": f"Incorrect API key provided: {given}"}})
        if body["model"] != self.model:
            return _send(request, 404, {"error": {"message": "no such model"}})
        if body.get("logprobs") and not self.probabilities:
            return _send(request, 400, {"error": {"message": "logprobs are not supported"}})
        if fault == "cut":
            request.close_connection = True
            request.connection.close()
            return None
        if fault == "garbage":
            return _send(request, 200, b"<html>it works</html>")
        if fault is not None and fault.isdecimal():
            return _send(request, int(fault), {"error": {"message": "not now"}}, {"Retry-After": "0"})
        if fault == "slow":
            time.sleep(2.0)
        if fault is not None and fault.startswith("says "):
            likeliest = [(fault.removeprefix("says "), 0.0)]
        else:
            likeliest = self.complete(body["messages"][0]["content"], body.get("top_logprobs", 1))
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": likeliest[0][0]}}
        if body.get("logprobs"):
            top = [{"token": token, "logprob": value, "bytes": None} for token, value in likeliest]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        return _send(request, 200, {"id": "1", "object": "chat.completion", "choices": [choice]})


def _send(request: BaseHTTPRequestHandler, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


def of_language_model(model: Any, tokenizer: Any) -> Completion:
    """What a causal language model of transformers says next."""
    import torch

    lock = threading.Lock()

    def complete(prompt: str, count: int) -> list[tuple[str, float]]:
        ids = tokenizer(prompt, add_special_tokens=False, split_special_tokens=True).input_ids
        with lock, torch.inference_mode():
            logits = model(input_ids=torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, -1]
        values, tokens = torch.log_softmax(logits.double(), 0).topk(count)
        words = [tokenizer.decode([token]) for token in tokens.tolist()]
        return [(word, value) for word, value in zip(words, values.tolist(), strict=True) if not math.isinf(value)]

    return complete
