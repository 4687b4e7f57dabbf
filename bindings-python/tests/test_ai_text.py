"""`everstream.ai.text_of`: the text of a chunk, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from everstream.ai import text_of
from everstream.ai._text import Joiner


def chat(**delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def delta_event(text: str) -> dict[str, Any]:
    where = {"item_id": "1", "output_index": 0, "content_index": 0, "sequence_number": 3, "logprobs": []}
    return {"type": "response.output_text.delta", "delta": text, **where}


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ({"text": "one"}, "one"),
        (chat(content="hello"), "hello"),
        (chat(role="assistant", content=""), ""),
        (chat(content=None), ""),
        (chat(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]), ""),
        ({"choices": [], "usage": {"total_tokens": 3}}, ""),
        ({"choices": [{"index": 0, "text": "legacy"}]}, "legacy"),
        (delta_event("piece"), "piece"),
    ],
)
def test_text_of_dicts(chunk: Any, text: str) -> None:
    assert text_of(chunk) == text


@pytest.mark.parametrize(
    "chunk",
    [
        {"type": "response.output_text.done", "text": "everything once more"},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.reasoning_text.delta", "delta": "hm"},
        {"error": {"type": "RateLimitError"}},
        {"text": 5},
        {"choices": None},
        None,
        b"bytes",
        5,
        [],
        object(),
    ],
)
def test_what_adds_no_text_is_empty(chunk: Any) -> None:
    assert text_of(chunk) == ""


def test_of_several_choices_the_first_counts() -> None:
    first, second = chat(content="a")["choices"][0], {**chat(content="b")["choices"][0], "index": 1}

    assert [text_of({"choices": [choice]}) for choice in (first, second)] == ["a", ""]
    assert text_of({"choices": [second, first]}) == "a"


def test_objects_of_the_openai_package_give_the_same_text_as_dicts() -> None:
    types = pytest.importorskip("openai.types")
    chat_types = pytest.importorskip("openai.types.chat")
    responses = pytest.importorskip("openai.types.responses")
    legacy = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    choices = [{"index": 0, "text": "legacy", "finish_reason": "stop", "logprobs": None}]

    objects = [
        chat_types.ChatCompletionChunk.model_validate(chat(content="hello")),
        types.Completion.model_validate({**legacy, "choices": choices}),
        responses.ResponseTextDeltaEvent.model_validate(delta_event("piece")),
        responses.ResponseTextDoneEvent.model_validate(
            {**delta_event("x"), "type": "response.output_text.done", "text": "everything once more"}
        ),
    ]

    assert [text_of(value) for value in objects] == ["hello", "legacy", "piece", ""]


def test_halves_of_an_emoji_are_joined() -> None:
    joiner = Joiner()

    assert [joiner.add(text) for text in ("a\ud83d", "\ude00b", "", "\u2028ü")] == ["a", "😀b", "", "\u2028ü"]


def test_a_half_that_stays_alone_does_not_break_the_text() -> None:
    joiner = Joiner()

    assert joiner.add("\ud83dx") == "\ufffdx"
