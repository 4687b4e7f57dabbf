"""Errors: one class for each code of the contract, with what the server said; rooted; picklable."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import everstream
from everstream import (
    BatchFailure,
    DurableStreamError,
    FetchError,
    InvalidArgumentError,
    Retry,
    StaleEpochError,
    StreamClosedError,
    StreamConsumedError,
    Timeout,
    errors,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, ScriptedServer, refused_url
from support import BYTES, JSON, ONCE, TEXT

CONTRACT = json.loads((Path(__file__).parents[2] / "tests/contract/errors.json").read_text())
CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, DurableStreamError)]


def test_each_code_of_the_contract_has_its_class_and_no_other() -> None:
    assert {row["code"]: row["python"] for row in CONTRACT} == {
        code: cls.__name__ for code, cls in errors.BY_CODE.items()
    }


@pytest.mark.parametrize("row", CONTRACT, ids=lambda row: row["code"])
def test_class_of_the_contract_is_exported_and_knows_its_code(row: dict[str, Any]) -> None:
    cls = getattr(everstream, row["python"])
    assert cls is errors.BY_CODE[row["code"]]
    assert cls("text").code == row["code"]
    assert row["python"] in everstream.__all__


@pytest.mark.parametrize("cls", CLASSES)
def test_hierarchy_is_rooted(cls: type) -> None:
    assert issubclass(cls, DurableStreamError)
    assert cls.__name__ in everstream.__all__
    assert cls.__doc__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidArgumentError", ValueError),
        ("InvalidOffsetError", ValueError),
        ("ParseError", ValueError),
        ("NetworkError", ConnectionError),
        ("RequestTimeoutError", TimeoutError),
    ],
)
def test_builtin_base(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(everstream, name), builtin)


def test_http_failures_are_fetch_errors() -> None:
    about_requests = {cls for cls in CLASSES if issubclass(cls, FetchError)} - {FetchError}
    assert {cls.__name__ for cls in about_requests} == {
        *("BadRequestError", "ContentTypeConflictError", "ForbiddenError", "InvalidOffsetError", "LeaseLostError"),
        *("NetworkError", "PayloadTooLargeError", "RateLimitedError", "RequestTimeoutError", "RetentionGoneError"),
        "SeqConflictError",
        *("SequenceGapError", "ServerBusyError", "ServerError", "StaleEpochError", "StreamClosedError"),
        *("StreamExistsError", "StreamNotFoundError", "UnauthorizedError", "UnexpectedStatusError"),
    }


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_a_copy_has_all_fields(cls: type[DurableStreamError], copied: Any) -> None:
    error = cls.__new__(cls)
    DurableStreamError.__init__(error, "it failed")
    fields = {
        "status": 409,
        "code": error.code or "CODE",
        "details": {"a": 1},
        "url": "http://host/stream",
        "operation": "append",
        "retryable": True,
        "outcome_unknown": True,
        "retry_after": 1.5,
        "headers": {"etag": "x"},
        "body": "text",
        "final_offset": "7",
        "current_epoch": 3,
        "expected_seq": 4,
        "received_seq": 5,
    }
    for name, value in fields.items():
        setattr(error, name, value)
    again = copied(error)
    assert type(again) is cls
    assert (str(again), repr(again), again.message, again.args) == (str(error), repr(error), "it failed", error.args)
    assert {name: getattr(again, name) for name in fields} == fields


def test_failures_are_pickled_with_their_errors() -> None:
    error = DurableStreamError("some were not stored")
    error.failures = (BatchFailure(2, 3, StaleEpochError(7)),)
    (failure,) = pickle.loads(pickle.dumps(error)).failures
    assert (failure.first_message, failure.messages) == (2, 3)
    assert type(failure.error) is StaleEpochError
    assert (failure.error.current_epoch, failure.error.code) == (7, "STALE_EPOCH")


def test_consumed_error_says_by_what() -> None:
    error = StreamConsumedError(attempted_method="read_json", consumed_by="iter_text")
    assert "read_json()" in str(error) and "iter_text()" in str(error)
    assert (error.attempted_method, error.consumed_by, error.code) == ("read_json", "iter_text", "ALREADY_CONSUMED")


URL = "http://host/stream"


@pytest.mark.parametrize(
    ("error", "status", "code", "text", "fields"),
    [
        (errors.StreamNotFoundError(), 404, "NOT_FOUND", "not found", {}),
        (errors.StreamNotFoundError(url=URL), 404, "NOT_FOUND", URL, {"url": URL}),
        (errors.StreamExistsError(url=URL), 409, "CONFLICT_EXISTS", URL, {"url": URL}),
        (errors.SeqConflictError(details="no"), 409, "CONFLICT_SEQ", "seq", {"details": "no"}),
        (errors.RetentionGoneError(), 410, "RETENTION_GONE", "retained", {"details": None}),
        (StreamClosedError(url=URL, final_offset="5"), 409, "STREAM_CLOSED", URL, {"url": URL, "final_offset": "5"}),
        (StaleEpochError(3), 403, "STALE_EPOCH", "3", {"current_epoch": 3}),
        (errors.SequenceGapError(1, 2), 409, "SEQUENCE_GAP", "2", {"expected_seq": 1, "received_seq": 2}),
        (errors.SSENotSupportedError(content_type=BYTES), 400, "SSE_NOT_SUPPORTED", BYTES, {"content_type": BYTES}),
        (errors.SSEBytesIterationError(), None, "SSE_BYTES_NOT_SUPPORTED", "iter_text", {}),
        (errors.SSEReadAllError("read_json"), None, "SSE_READ_ALL_NOT_SUPPORTED", "read_json()", {"method": "read_json"}),
        (errors.SSEEncodingError("bad"), None, "SSE_ENCODING_ERROR", "bad", {}),
        (FetchError("no", 500, URL, {"a": "b"}, "text"), 500, None, "no", {"headers": {"a": "b"}, "body": "text"}),
        (errors.NetworkError("no", url=URL), None, "NETWORK_ERROR", "no", {"url": URL, "headers": {}, "body": None}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_classes_of_the_official_client_are_made_as_there(
    error: DurableStreamError, status: int | None, code: str | None, text: str, fields: dict[str, Any]
) -> None:
    assert (error.status, error.code) == (status, code)
    assert text in str(error)
    assert {name: getattr(error, name) for name in fields} == fields
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


# What an answer means: status, headers, operation -> code, and whether a write may have been stored.
STATUS = [
    (400, {}, "append", "BAD_REQUEST", False),
    (400, {}, "read", "INVALID_OFFSET", False),
    (401, {}, "read", "UNAUTHORIZED", False),
    (403, {}, "append", "FORBIDDEN", False),
    (404, {}, "read", "NOT_FOUND", False),
    (404, {}, "head", "NOT_FOUND", False),
    (404, {}, "delete", "NOT_FOUND", False),
    (405, {}, "append", "NOT_SUPPORTED", False),
    (409, {}, "create", "CONFLICT_EXISTS", False),
    (409, {}, "append", "CONFLICT_CONTENT_TYPE", False),
    (409, {}, "append with seq", "CONFLICT_SEQ", False),
    (409, {"stream-closed": "true", "stream-next-offset": "9"}, "append", "STREAM_CLOSED", False),
    (410, {}, "read", "RETENTION_GONE", False),
    (413, {}, "append", "PAYLOAD_TOO_LARGE", False),
    (418, {}, "append", "UNEXPECTED_STATUS", False),
    (429, {"retry-after": "0"}, "append", "RATE_LIMITED", False),
    (500, {}, "read", "SERVER_ERROR", False),
    (500, {}, "append", "SERVER_ERROR", True),
    (500, {}, "create", "SERVER_ERROR", True),
    (502, {}, "append", "SERVER_ERROR", True),
    (503, {"retry-after": "0"}, "append", "BUSY", False),
]


def attempt(face: Face, operation: str, url: str, **options: Any) -> Any:
    if operation == "read":
        return face.stream(url, live=False, **options)
    handle = face.handle(url, content_type=TEXT, **options)
    operations = {
        "append": lambda: handle.append("x"),
        "append with seq": lambda: handle.append("x", seq="1"),
        "create": lambda: handle.create_stream(),
        "close": lambda: handle.close_stream(),
        "delete": lambda: handle.delete(),
        "head": lambda: handle.head(),
    }
    return operations[operation]()


@pytest.mark.parametrize(("status", "headers", "operation", "code", "unknown"), STATUS)
def test_status_becomes_a_typed_error(
    face: Face, status: int, headers: dict[str, str], operation: str, code: str, unknown: bool
) -> None:
    said = {**headers, "content-type": "text/plain", "x-trace": "abc"}
    with ScriptedServer(lambda request: Answer(status, said, b"because")) as server:
        url = f"{server.url}/v1/stream/a"
        with pytest.raises(errors.BY_CODE[code]) as raised:
            attempt(face, operation, f"{url}?token=secret", retry=ONCE)
        tries = server.count()
    error = raised.value
    contract = next(row for row in CONTRACT if row["code"] == code)
    assert (error.code, error.status, error.url) == (code, status, url)
    assert error.retryable is contract["retryable"]
    assert error.outcome_unknown is unknown
    assert error.operation == operation.split()[0]
    assert error.headers["x-trace"] == "abc"
    assert error.body == error.details == (None if operation == "head" else "because")
    assert error.retry_after == (0.0 if "retry-after" in headers else None)
    assert tries == 1
    assert url in str(error) and "secret" not in str(error)
    if isinstance(error, StreamClosedError):
        assert error.final_offset == "9"


def test_retry_after_is_told_in_seconds(face: Face) -> None:
    with ScriptedServer(lambda request: Answer(503, {"retry-after": "120"})) as server:
        with pytest.raises(everstream.ServerBusyError) as raised:
            face.handle(f"{server.url}/a").head()
    assert raised.value.retry_after == 120.0
    assert server.count() == 1


def test_credentials_and_query_are_not_in_errors(face: Face) -> None:
    with ScriptedServer(lambda request: Answer(404)) as server:
        host = server.url.removeprefix("http://")
        with pytest.raises(everstream.StreamNotFoundError) as raised:
            face.handle(f"http://user:password@{host}/a?key=secret").head()
    assert raised.value.url == f"http://{host}/a"
    assert "password" not in str(raised.value) and "secret" not in str(raised.value)


def test_refused_connection_is_a_network_error_that_stored_nothing(face: Face) -> None:
    with pytest.raises(ConnectionError) as raised:
        face.handle(refused_url(), content_type=TEXT, retry=ONCE).append("x")
    error = raised.value
    assert (error.code, error.status, error.retryable, error.outcome_unknown) == ("NETWORK_ERROR", None, True, False)
    assert isinstance(error, everstream.NetworkError)


def test_connection_that_breaks_after_the_request_leaves_the_outcome_unknown(face: Face) -> None:
    with ScriptedServer(lambda request: Answer(drop=True)) as server:
        with pytest.raises(everstream.NetworkError) as raised:
            face.handle(f"{server.url}/a", content_type=TEXT).append("x")
    assert raised.value.outcome_unknown
    assert server.count() == 1


def test_time_limit_is_a_timeout_error(face: Face, server: Server, url: str, path: str) -> None:
    face.create(url)
    server.inject_fault(path, delay_ms=5000, count=10, method="HEAD")
    with pytest.raises(TimeoutError) as raised:
        face.handle(url, timeout=Timeout(read=0.05), retry=ONCE).head()
    assert isinstance(raised.value, everstream.RequestTimeoutError)
    assert (raised.value.code, raised.value.retryable, raised.value.outcome_unknown) == ("TIMEOUT", True, False)


def test_broken_json_is_a_parse_error(face: Face) -> None:
    headers = {"content-type": JSON, "stream-next-offset": "1", "stream-up-to-date": "true"}
    with ScriptedServer(lambda request: Answer(200, headers, b'[{"a":1},{]')) as server:
        with pytest.raises(ValueError) as raised, face.stream(f"{server.url}/a", live=False) as res:
            list(res.iter_json())
    assert isinstance(raised.value, everstream.ParseError)
    assert raised.value.code == "PARSE_ERROR"


def test_answer_without_an_offset_is_a_protocol_error(face: Face) -> None:
    with ScriptedServer(lambda request: Answer(200, {"content-type": TEXT}, b"hello")) as server:
        with pytest.raises(everstream.ProtocolError, match="Stream-Next-Offset"), face.stream(f"{server.url}/a") as res:
            res.read_text()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda face, url: face.handle(""), "url"),
        (lambda face, url: face.handle("ftp://host/a"), "http"),
        (lambda face, url: face.stream(url, live="now"), "live"),
        (lambda face, url: face.stream(url, offset="a b"), "offset"),
        (lambda face, url: face.handle(url, retry=Retry(multiplier=0.5)), "multiplier"),
        (lambda face, url: face.handle(url, retry=Retry(initial_delay=-1)), "initial_delay"),
        (lambda face, url: face.handle(url).create_stream(ttl_seconds=1, expires_at="2030-01-01T00:00:00Z"), "ttl"),
        (lambda face, url: face.handle(url, content_type=BYTES).append(b"x", seq="a\nb"), "stream-seq"),
    ],
)
def test_refused_argument_is_a_value_error_that_names_it(face: Face, url: str, call: Any, match: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"(?i){match}") as raised:
        call(face, url)
    assert isinstance(raised.value, ValueError)
    assert (raised.value.code, raised.value.status, raised.value.retryable) == ("INVALID_ARGUMENT", None, False)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"timeout": "10"}, "timeout"),
        ({"retry": {"max_retries": 1}}, "retry"),
        ({"headers": {"a": 1}}, "header a"),
        ({"params": {"a": 1}}, "parameter a"),
        ({"client": object()}, "client="),
    ],
)
def test_argument_of_a_wrong_type_is_a_type_error_that_names_it(
    face: Face, url: str, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(TypeError, match=match):
        face.handle(url, **options)
    with pytest.raises(TypeError, match=match):
        face.stream(url, **options)


def test_a_foreign_client_is_refused_with_what_to_use(url: str) -> None:
    with pytest.raises(TypeError, match="everstream.Client"):
        everstream.stream(url, client=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="everstream.AsyncClient"):
        everstream.AsyncDurableStream(url, client=everstream.Client())  # type: ignore[arg-type]


def test_producer_errors_carry_their_facts(face: Face) -> None:
    gap = {"producer-expected-seq": "0", "producer-received-seq": "4"}
    answers = {"gap": Answer(409, gap), "fenced": Answer(403, {"producer-epoch": "7"})}
    with ScriptedServer(lambda request: answers[request.path.removeprefix("/")]) as server:

        def failed(kind: str) -> DurableStreamError:
            producer = face.producer(face.handle(f"{server.url}/{kind}", content_type=TEXT))
            delivery = producer.append("x")
            with pytest.raises(DurableStreamError) as raised:
                face.receipt(delivery)
            with pytest.raises(DurableStreamError):
                producer.close()
            return raised.value

        fenced = failed("fenced")
        assert isinstance(fenced, StaleEpochError)
        assert (fenced.current_epoch, fenced.status, fenced.operation) == (7, 403, "produce")
        gapped = failed("gap")
        assert isinstance(gapped, everstream.SequenceGapError)
        assert (gapped.expected_seq, gapped.received_seq, gapped.status) == (0, 4, 409)
