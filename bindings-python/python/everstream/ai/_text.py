"""What a model's chunk says."""

from __future__ import annotations

import codecs
from typing import Any, cast

_TEXT_EVENT = "response.output_text.delta"


def text_of(chunk: Any) -> str:
    """The text that a chunk adds to the answer; `""` if it adds none.

    Takes a str, a chunk of OpenAI's chat completions or legacy completions (of several choices the first), an event of
    its Responses API, and `{"text": ...}`: as objects, or as dicts such as JSON streams give back. Never raises.
    """
    if isinstance(chunk, str):
        return chunk
    kind = _get(chunk, "type")
    if isinstance(kind, str):
        # Other events of this kind repeat what the deltas said.
        return _str(_get(chunk, "delta")) if kind == _TEXT_EVENT else ""
    choices: Any = _get(chunk, "choices")
    if isinstance(choices, (list, tuple)):
        return "".join(_of_choice(choice) for choice in cast("list[Any]", choices) if not _get(choice, "index"))
    return _str(_get(chunk, "text"))


def is_json(content_type: str | None) -> bool:
    """Whether a stream of this type has messages; any other is one text."""
    return (content_type or "").split(";")[0].strip().lower() == "application/json"


def _of_choice(choice: Any) -> str:
    delta = _get(choice, "delta")
    return _str(_get(choice, "text")) if delta is None else _str(_get(delta, "content"))


def _get(value: Any, name: str) -> Any:
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else getattr(value, name, None)


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""


class Joiner:
    """Joins surrogates that come in two pieces: some servers cut an emoji's `\\ud83d\\ude00` in its middle."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def add(self, text: str) -> str:
        """The text that can be told so far; half a character waits for its other half."""
        return self._decoder.decode(text.encode("utf-16-le", "surrogatepass"))
