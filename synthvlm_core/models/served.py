"""What a served language model says of captions: the answer of a judge behind an OpenAI-compatible server.

Belongs here: asking, what counts as an answer, what is tried again and what a person must mend. Does not belong here:
bounds (captions/rules/), models that are loaded into this process (language.py).

Of each caption one chat completion is asked for, at temperature 0, with the likeliest first tokens where the server
gives them. With P(Yes) and P(No) the summed probabilities of the first tokens that spell these words but for case,
blanks and punctuation:

    p(yes) = P(Yes) / (P(Yes) + P(No))    if P(Yes) + P(No) is at least one half

and else 1.0 or 0.0 if the answer's text is Yes or No, rounded to 6 decimals. An answer that is neither is asked for
again, `ASKED` times in all, and is NaN then, which passes no bound. Tokens beyond the likeliest `LIKELIEST` count
nothing. A caption is data: whatever it says, only Yes or No comes of it.
"""

import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synthvlm_core.errors import Mendable

LIKELIEST: Final = 20
"""First tokens whose probabilities are asked for: the most that OpenAI's interface allows."""
ASKED: Final = 3
RETRIES: Final = 6
"""Of a request that was refused for the moment (429, 5xx, no connection, no answer in time); the client waits longer
each time, or as long as the server says."""
MAX_CHARACTERS: Final = 16_384
"""Of a caption, which fits into any context."""
DECIMALS: Final = 6

_ANSWER = re.compile(r"\W*(yes|no)\b\W*", re.IGNORECASE)
_MAX_TOKENS = 4
_log = logging.getLogger(__name__)


class Unanswering(Mendable):
    """A server that does not do what is asked of it; the message says what to mend."""


@dataclass(frozen=True)
class Server:
    """Where a model is served and how it is asked. Nothing here changes an answer."""

    url: str
    """Its base, as http://localhost:8000/v1."""
    key_env: str
    """The environment variable that holds its key; the key itself is kept nowhere."""
    concurrency: int
    timeout: float
    """Seconds for one request."""


class Judge:
    """A served model that is asked a question with Yes or No for an answer."""

    def __init__(self, server: Server, model: str, prompt: str) -> None:
        """
        Args:
            model: as the server names it.
            prompt: contains "{caption}".

        Raises:
            Unanswering: if the server cannot be reached, refuses the key or does not serve the model.
        """
        import openai

        self._openai, self._server, self._model, self._prompt = openai, server, model, prompt
        self._client = openai.OpenAI(
            base_url=server.url,
            api_key=os.environ.get(server.key_env) or "none",  # servers of one's own ask for none
            timeout=server.timeout,
            max_retries=RETRIES,
        )
        self._gives_probabilities = True
        self._neither = 0
        self._lock = threading.Lock()

    def answers(
        self, texts: Sequence[str], *, on_progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[tuple[int, float]]:
        """Place and p(yes) of the texts, in the order in which they are answered.

        Raises:
            Unanswering: where a person must mend something; what was answered before is handed over first.
        """
        done = 0
        failed: Exception | None = None
        pool = ThreadPoolExecutor(self._server.concurrency, thread_name_prefix="judge")
        try:
            waiting: dict[Future[float], int] = {}
            places = iter(range(len(texts)))
            while failed is None or waiting:
                # few more than are asked at once, so that an end comes soon
                while failed is None and len(waiting) < 2 * self._server.concurrency:
                    if (place := next(places, None)) is None:
                        break
                    waiting[pool.submit(self._answer, texts[place])] = place
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    place = waiting.pop(future)
                    if future.cancelled():
                        continue
                    if (error := future.exception()) is not None:
                        failed = failed or self._told(error)
                        for other in waiting:
                            other.cancel()
                        continue
                    done += 1
                    on_progress(done)
                    yield place, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        if failed is not None:
            raise failed
        if self._neither:
            _log.warning("of %d captions the judge said neither Yes nor No, %d times asked", self._neither, ASKED)
            self._neither = 0

    def _answer(self, text: str) -> float:
        for _ in range(ASKED):
            value = value_of(self._ask(text))
            if value is not None:
                return round(value, DECIMALS)
        with self._lock:
            self._neither += 1
        return math.nan

    def _ask(self, text: str) -> Any:
        """One completion, as JSON values; None where what came is none."""
        asked = self._prompt.replace("{caption}", text[:MAX_CHARACTERS])
        extra: dict[str, Any] = {"logprobs": True, "top_logprobs": LIKELIEST} if self._gives_probabilities else {}
        try:
            found = self._client.chat.completions.with_raw_response.create(
                model=self._model,
                messages=[{"role": "user", "content": asked}],
                temperature=0.0,
                max_tokens=_MAX_TOKENS,
                **extra,
            )
            return found.http_response.json()
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError):
            if not extra:
                raise
            self._gives_probabilities = False  # some servers refuse to; the text of the answer counts then
            return self._ask(text)
        except (ValueError, self._openai.APIResponseValidationError):
            return None

    def _told(self, error: BaseException) -> Exception:
        """What a person must mend, in words without the key; an error that is none of the server's as it is."""
        name, url = self._openai, self._server.url
        if isinstance(error, name.AuthenticationError | name.PermissionDeniedError):
            return Unanswering(
                f"the judge's server {url} refuses the key ({error.status_code}): put a valid one into the environment "
                f"variable {self._server.key_env} of the processes that run stages"
            )
        if isinstance(error, name.NotFoundError):
            return Unanswering(
                f"the judge's server {url} does not serve {self._model!r} there (404); GET {url}/models lists what it "
                "serves, and the address ends with /v1 mostly"
            )
        if isinstance(error, name.APITimeoutError):
            return Unanswering(
                f"the judge's server {url} gave no answer within {self._server.timeout:g} s, {RETRIES + 1} times; "
                "lower concurrency or raise timeout. What was answered is kept"
            )
        if isinstance(error, name.APIConnectionError):
            return Unanswering(
                f"the judge's server {url} cannot be reached: start it, or correct server; what was answered is kept. "
                f"For a model of one's own: vllm serve {self._model}"
            )
        if isinstance(error, name.APIStatusError):
            said = self._without_key(str(error.message))[:300]
            return Unanswering(
                f"the judge's server {url} answers with status {error.status_code}: {said!a}; what was answered is kept"
            )
        return error if isinstance(error, Exception) else RuntimeError(str(error))

    def _without_key(self, words: str) -> str:
        key = os.environ.get(self._server.key_env)
        return words.replace(key, "…") if key else words


def value_of(completion: Any) -> float | None:
    """p(yes) of a chat completion, in [0, 1]; None if it says neither Yes nor No. See the module.

    Args:
        completion: JSON values of any shape: a server is a stranger.
    """
    try:
        choice = completion["choices"][0]
        said = choice["message"]["content"]
    except (TypeError, LookupError):
        return None
    try:
        likeliest = choice["logprobs"]["content"][0]["top_logprobs"]
        yes, no = 0.0, 0.0
        for entry in likeliest:
            word = _ANSWER.fullmatch(entry["token"])
            probability = math.exp(min(float(entry["logprob"]), 0.0))
            if word is not None and word[1].lower() == "yes":
                yes += probability
            elif word is not None:
                no += probability
        if yes + no >= 0.5:
            return yes / (yes + no)
    except (TypeError, LookupError, ValueError):  # it gives none, or none that are
        pass
    word = _ANSWER.match(said) if isinstance(said, str) else None
    return None if word is None else float(word[1].lower() == "yes")


def judge_yes(
    judge: Judge, texts: Sequence[str], *, on_progress: Callable[[int], None] = lambda done: None
) -> tuple[NDArray[np.int64], NDArray[np.float64], Exception | None]:
    """Places and p(yes) of the texts that were answered, in their order, and what ended the asking, if anything did."""
    found: dict[int, float] = {}
    ended: Exception | None = None
    try:
        for place, value in judge.answers(texts, on_progress=on_progress):
            found[place] = value
    except Unanswering as error:
        ended = error
    places = np.array(sorted(found), np.int64)
    return places, np.array([found[place] for place in places.tolist()], np.float64), ended
