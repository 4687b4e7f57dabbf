"""Every name of the official Python client is here, with its parameters and defaults (API.md 2.1 to 2.7)."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import pytest

import everstream
from everstream import (
    AppendResult,
    AsyncDurableStream,
    AsyncStreamResponse,
    CloseResult,
    DurableStream,
    HeadResult,
    IdempotentAppendResult,
    IdempotentProducer,
    StreamEvent,
    StreamResponse,
)

OFFICIAL_NAMES = """
    stream astream DurableStream AsyncDurableStream IdempotentProducer
    LiveMode Offset StreamEvent HeadResult AppendResult CloseResult HeadersLike ParamsLike SSEEncoding
    IdempotentAppendResult __version__
    DurableStreamError StreamNotFoundError StreamExistsError SeqConflictError StreamClosedError RetentionGoneError
    StreamConsumedError SSENotSupportedError SSEBytesIterationError SSEReadAllError SSEEncodingError FetchError
    StaleEpochError SequenceGapError
""".split()

REQUIRED = inspect.Parameter.empty

READ = {"offset": None, "live": True, "cursor": None, "headers": None, "params": None}
REQUEST = {"headers": None, "params": None, "client": None, "timeout": None}
CREATE = {"content_type": None, "ttl_seconds": None, "expires_at": None, "body": None, "closed": False}

# Positional parameters, then keyword-only ones with their defaults.
HANDLE: dict[str, tuple[list[str], dict[str, Any]]] = {
    "__init__": (["url"], {**REQUEST, "content_type": None, "batching": True, "on_error": None}),
    "connect": (["url"], REQUEST),
    "create": (["url"], {**CREATE, **REQUEST}),
    "head_static": (["url"], REQUEST),
    "delete_static": (["url"], REQUEST),
    "head": ([], {}),
    "create_stream": ([], CREATE),
    "append": (["data"], {"seq": None, "content_type": None}),
    "close_stream": ([], {"data": None, "content_type": None}),
    "delete": ([], {}),
    "stream": ([], READ),
}
RESPONSE: dict[str, tuple[list[str], dict[str, Any]]] = {
    "iter_text": (["encoding"], {}),
    "iter_json": (["decode"], {}),
    "iter_json_batches": (["decode"], {}),
    "iter_events": (["mode"], {"encoding": "utf-8", "decode": None}),
    "read_bytes": ([], {}),
    "read_text": (["encoding"], {}),
    "read_json": (["decode"], {}),
    "read_json_batches": (["decode"], {}),
}
PRODUCER: dict[str, tuple[list[str], dict[str, Any]]] = {
    "__init__": (
        ["url", "producer_id"],
        {
            "client": None,
            "epoch": 0,
            "auto_claim": False,
            "max_batch_bytes": 1048576,
            "linger_ms": 5,
            "max_in_flight": 5,
            "on_error": None,
            # Officially "application/octet-stream", which a JSON stream refuses; here the server is asked.
            "content_type": None,
        },
    ),
    "append": (["body"], {}),
    "flush": ([], {}),
    "close": ([], {}),
    "close_stream": (["data"], {"seq": None}),
    "restart": ([], {}),
}
FUNCTION: tuple[list[str], dict[str, Any]] = (["url"], {**READ, **REQUEST, "on_error": None})

TABLE = [
    pytest.param(everstream.stream, FUNCTION, id="stream"),
    pytest.param(everstream.astream, FUNCTION, id="astream"),
    *(
        pytest.param(getattr(cls, name), shape, id=f"{cls.__name__}.{name}")
        for cls, methods in (
            (DurableStream, {**HANDLE, "close": ([], {})}),
            (AsyncDurableStream, {**HANDLE, "aclose": ([], {})}),
            (StreamResponse, {**RESPONSE, "close": ([], {})}),
            (AsyncStreamResponse, {**RESPONSE, "aclose": ([], {})}),
            (IdempotentProducer, PRODUCER),
        )
        for name, shape in methods.items()
    ),
]
POSITIONAL_DEFAULTS = {"encoding": "utf-8", "decode": None, "mode": "json"}


@pytest.mark.parametrize("name", OFFICIAL_NAMES)
def test_official_name_is_exported(name: str) -> None:
    assert hasattr(everstream, name)
    assert name in everstream.__all__


def test_every_exported_name_is_there() -> None:
    assert [name for name in everstream.__all__ if not hasattr(everstream, name)] == []
    assert sorted(set(everstream.__all__)) == sorted(everstream.__all__)
    assert set(everstream.__all__) <= set(dir(everstream))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        everstream.nothing  # noqa: B018


@pytest.mark.parametrize(("function", "shape"), TABLE)
def test_parameters_and_defaults_are_the_official_ones(function: Any, shape: tuple[list[str], dict[str, Any]]) -> None:
    positional, keywords = shape
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    taken = [p.name for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert taken[: len(positional)] == positional
    for name in taken:
        default = parameters[name].default
        assert default == POSITIONAL_DEFAULTS.get(name, None if name == "data" and default is None else REQUIRED), name
    for name, default in keywords.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameters[name].default == default, name
    # What is ours beyond that has a default as well: nothing more has to be given.
    ours = [p for p in parameters.values() if p.name not in (*positional, *keywords)]
    assert [p.name for p in ours if p.default is REQUIRED and p.kind is not inspect.Parameter.VAR_KEYWORD] == []


@pytest.mark.parametrize("cls", [DurableStream, AsyncDurableStream])
def test_official_properties_of_handles(cls: type) -> None:
    for name in ("url", "content_type"):
        assert isinstance(inspect.getattr_static(cls, name), property), name


@pytest.mark.parametrize("cls", [StreamResponse, AsyncStreamResponse])
def test_official_properties_of_responses(cls: type) -> None:
    names = """url content_type live offset cursor up_to_date stream_closed start_offset headers status status_text ok
        closed""".split()
    for name in names:
        assert isinstance(inspect.getattr_static(cls, name), property), name


def test_official_properties_of_the_producer() -> None:
    for name in ("epoch", "next_seq", "pending_count", "in_flight_count"):
        assert isinstance(inspect.getattr_static(IdempotentProducer, name), property), name


def test_context_managers() -> None:
    for cls in (DurableStream, StreamResponse, everstream.Producer, everstream.Client, everstream.Server):
        assert hasattr(cls, "__enter__") and hasattr(cls, "__exit__"), cls
    for cls in (AsyncDurableStream, AsyncStreamResponse, IdempotentProducer, everstream.AsyncClient, everstream.Server):
        assert hasattr(cls, "__aenter__") and hasattr(cls, "__aexit__"), cls


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (StreamEvent, ["data", "next_offset", "up_to_date", "cursor"]),
        (HeadResult, ["exists", "content_type", "offset", "etag", "cache_control", "stream_closed"]),
        (AppendResult, ["next_offset"]),
        (CloseResult, ["final_offset"]),
        (IdempotentAppendResult, ["offset", "duplicate"]),
    ],
)
def test_results_begin_with_the_official_fields_and_are_frozen(cls: Any, fields: list[str]) -> None:
    given = dataclasses.fields(cls)
    assert [field.name for field in given[: len(fields)]] == fields
    assert all(field.default is not dataclasses.MISSING for field in given[len(fields) :])
    value = cls(*range(len(fields)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, fields[0], None)


def test_importing_the_package_does_not_import_asyncio() -> None:
    look = "print('asyncio' in sys.modules)"
    code = f"import sys, everstream; {look}; everstream.astream; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("everstream")
    except PackageNotFoundError:
        pytest.skip("the package is on the path without being installed")
    assert everstream.__version__ == installed
