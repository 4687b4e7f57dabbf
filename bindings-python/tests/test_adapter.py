"""The conformance adapters do what the official runner expects of them, judged more strictly than it does."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from adapter_driver import FACES, Adapter, executable, server_append, server_close
from everstream.testing import Server
from scripted import Answer, Request, ScriptedServer
from support import BYTES, JSON, TEXT

LIVE_MODES = [True, "long-poll", "sse"]
ALL_MODES = [False, *LIVE_MODES]


@pytest.fixture(scope="module")
def root() -> Iterator[Server]:
    """A server as the official runner starts it: streams are at its root."""
    with Server(stream_root="/", long_poll_timeout=0.5) as server:
        yield server


@pytest.fixture(scope="module", params=FACES)
def process(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    with Adapter(request.param) as adapter:
        yield adapter


@pytest.fixture
def adapter(process: Adapter, root: Server) -> Iterator[Adapter]:
    process.ok("init", serverUrl=root.url)
    yield process
    root.clear_faults()


@pytest.fixture
def path() -> str:
    return f"/test-stream-{uuid4()}"


@pytest.fixture
def text(adapter: Adapter, path: str) -> str:
    """The path of a text stream."""
    adapter.ok("create", path=path, contentType=TEXT)
    return path


@pytest.fixture
def json_stream(adapter: Adapter, path: str) -> str:
    """The path of a JSON stream."""
    adapter.ok("create", path=path, contentType=JSON)
    return path


def states(result: dict[str, Any]) -> tuple[bool, bool]:
    return result["upToDate"], result["streamClosed"]


# Transport


@pytest.mark.parametrize("face", FACES)
def test_executable_runs_by_itself_without_arguments(face: str) -> None:
    venv = os.path.dirname(sys.executable)
    done = subprocess.run(
        [str(executable(face))],
        input=b'{"type": "shutdown"}\n',
        capture_output=True,
        env={**os.environ, "PATH": f"{venv}{os.pathsep}{os.environ['PATH']}"},
        timeout=30,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, {"type": "shutdown", "success": True})


@pytest.mark.parametrize("face", FACES)
def test_shutdown_ends_the_process_with_0_though_producers_are_open(face: str, root: Server, path: str) -> None:
    with Adapter(face) as adapter:
        adapter.ok("init", serverUrl=root.url)
        adapter.ok("create", path=path, contentType=TEXT)
        adapter.ok("idempotent-append", path=path, data="x", producerId="p", epoch=0, autoClaim=False)
        adapter.ok("shutdown")
        assert adapter.exit_code() == 0


def test_init_declares_all_nine_features_and_ours(adapter: Adapter, root: Server) -> None:
    result = adapter.ok("init", serverUrl=root.url)
    assert result["clientName"].startswith("everstream") and result["clientVersion"]
    assert result["features"] == dict.fromkeys(
        [
            "auto", "batching", "batchItems", "dynamicHeaders", "longPoll", "retryOptions", "sse", "streaming",
            "strictZeroValidation", "subscriptions",
        ],
        True,
    )  # fmt: skip


def test_unknown_commands_are_not_supported(adapter: Adapter, path: str) -> None:
    adapter.refused("NOT_SUPPORTED", "server-close", path=path)
    adapter.refused("NOT_SUPPORTED", "validate", target={"target": "nothing"})
    adapter.refused("NOT_SUPPORTED", "benchmark", iterationId="1", operation={"op": "nothing"})


@pytest.mark.parametrize("line", [b"{", b"[]", b'"read"', b"{}", b"\xff\xfe"])
def test_unparsable_input_is_answered_and_the_next_command_works(adapter: Adapter, line: bytes, text: str) -> None:
    adapter.send_line(line)
    answer = adapter.answer()
    assert (answer["type"], answer["commandType"], answer["errorCode"]) == ("error", "init", "PARSE_ERROR")
    adapter.ok("head", path=text)


def test_answers_are_ascii_so_that_no_separator_splits_them(adapter: Adapter, text: str) -> None:
    data = "a\u0085b\u2028c\u2029d\r\né世🌍"
    adapter.ok("append", path=text, data=data)
    adapter.send("read", path=text)
    line = adapter.line()
    assert line.isascii()
    assert json.loads(line)["chunks"][0]["data"] == data


def test_init_forgets_producers_and_dynamic_values(adapter: Adapter, root: Server, text: str) -> None:
    producer = {"path": text, "producerId": "p", "epoch": 0, "autoClaim": False}
    adapter.ok("idempotent-append", data="a", **producer)
    adapter.ok("set-dynamic-header", name="X-Count", valueType="counter")
    adapter.ok("init", serverUrl=root.url)
    assert adapter.ok("idempotent-append", data="b", **producer)["duplicate"] is True
    assert "headersSent" not in adapter.ok("append", path=text, data="c")
    assert adapter.data(text) == "ac"


# Lifecycle


def test_create_tells_new_streams_from_those_that_were_there(adapter: Adapter, path: str) -> None:
    assert adapter.ok("create", path=path, contentType=TEXT)["status"] == 201
    assert adapter.ok("create", path=path, contentType=TEXT)["status"] == 200
    assert adapter.refused("CONFLICT", "create", path=path, contentType=JSON)["status"] == 409


def test_create_without_content_type_makes_a_stream_of_bytes(adapter: Adapter, path: str) -> None:
    adapter.ok("create", path=path)
    assert adapter.ok("head", path=path)["contentType"] == BYTES


def test_create_takes_initial_data_as_it_is_and_may_close(adapter: Adapter, path: str) -> None:
    created = adapter.ok("create", path=path, contentType=JSON, data='[1, {"a": 2}]', closed=True)
    read = adapter.ok("read", path=path)
    assert [chunk["data"] for chunk in read["chunks"]] == ['[1,{"a":2}]']
    assert states(read) == (True, True) and created["offset"] == read["offset"]


def test_head_tells_content_type_with_parameters_lifetime_and_state(adapter: Adapter, path: str) -> None:
    adapter.ok("create", path=path, contentType="text/plain; charset=utf-8", ttlSeconds=60)
    head = adapter.ok("head", path=path)
    assert head["contentType"] == "text/plain; charset=utf-8"
    assert (head["status"], head["ttlSeconds"], head["streamClosed"]) == (200, 60, False)
    assert head["offset"] and "expiresAt" not in head


def test_expiry_is_created_and_told(adapter: Adapter, path: str) -> None:
    adapter.ok("create", path=path, expiresAt="2099-01-01T00:00:00Z")
    assert adapter.ok("head", path=path)["expiresAt"].startswith("2099-01-01T00:00:00")


def test_connect_knows_the_stream(adapter: Adapter, root: Server, text: str) -> None:
    offset = adapter.ok("append", path=text, data="x")["offset"]
    adapter.ok("init", serverUrl=root.url)
    assert adapter.ok("connect", path=text) == {"type": "connect", "success": True, "status": 200, "offset": offset}


def test_delete_is_for_good(adapter: Adapter, text: str) -> None:
    assert adapter.ok("delete", path=text)["status"] == 200
    assert adapter.refused("NOT_FOUND", "delete", path=text)["status"] == 404
    assert adapter.refused("NOT_FOUND", "read", path=text)["status"] == 404


def test_close_can_be_repeated_without_data_only(adapter: Adapter, text: str) -> None:
    adapter.ok("append", path=text, data="ab")
    final = adapter.ok("close", path=text, data="c")["finalOffset"]
    assert adapter.ok("close", path=text)["finalOffset"] == final
    adapter.refused("STREAM_CLOSED", "close", path=text, data="d")
    assert adapter.refused("STREAM_CLOSED", "append", path=text, data="d")["status"] == 409
    assert adapter.ok("head", path=text)["streamClosed"] is True
    assert adapter.data(text) == "abc"


@pytest.mark.parametrize("command", ["append", "close", "connect", "delete", "head", "read"])
def test_missing_stream_is_not_found_by_its_path(adapter: Adapter, command: str, path: str) -> None:
    result = adapter.refused("NOT_FOUND", command, path=path, data="x")
    assert result["status"] == 404 and path in result["message"]


@pytest.mark.parametrize("live", ALL_MODES)
@pytest.mark.parametrize("offset", ["-1", "now"])
def test_missing_stream_is_not_found_in_every_mode(adapter: Adapter, live: object, offset: str, path: str) -> None:
    assert adapter.refused("NOT_FOUND", "read", path=path, live=live, offset=offset, timeoutMs=1000)["status"] == 404


@pytest.mark.parametrize("live", ALL_MODES)
def test_invalid_offset_is_refused_in_every_mode(adapter: Adapter, live: object, text: str) -> None:
    result = adapter.refused("INVALID_OFFSET", "read", path=text, live=live, offset="not-a-valid-offset-format")
    assert result["status"] == 400


# Appends


@pytest.mark.parametrize(
    "data", ["Hello, World!", "Hello 世界 🌍 Привет", "  two leading spaces", "x" * 100_000, "\n\n"]
)
def test_text_comes_back_as_it_was(adapter: Adapter, text: str, data: str) -> None:
    appended = adapter.ok("append", path=text, data=data, headers={"X-Request-Id": "12345"})
    read = adapter.ok("read", path=text)
    assert appended["status"] == 200
    assert read["chunks"] == [{"data": data, "offset": appended["offset"]}]


def test_bytes_are_text_where_they_can_be_and_base64_elsewhere(adapter: Adapter, path: str) -> None:
    adapter.ok("create", path=path)
    adapter.ok("append", path=path, data=base64.b64encode(b"Hello \x00").decode(), binary=True)
    (chunk,) = adapter.ok("read", path=path)["chunks"]
    assert chunk["data"] == "Hello \x00" and "binary" not in chunk
    adapter.ok("append", path=path, data=base64.b64encode(bytes(range(256))).decode(), binary=True)
    for live in ALL_MODES:
        (chunk,) = adapter.ok("read", path=path, live=live, waitForUpToDate=True)["chunks"]
        assert chunk["binary"] is True
        assert base64.b64decode(chunk["data"]) == b"Hello \x00" + bytes(range(256))


def test_an_append_of_nothing_is_a_bad_request(adapter: Adapter, text: str) -> None:
    assert adapter.result("append", path=text, data="")["status"] == 400


def test_seq_has_to_grow(adapter: Adapter, text: str) -> None:
    adapter.ok("append", path=text, data="a", seq=1)
    assert adapter.refused("SEQUENCE_CONFLICT", "append", path=text, data="b", seq=1)["status"] == 409
    adapter.ok("append", path=text, data="c", seq=2)
    assert adapter.data(text) == "ac"


def test_json_is_one_message_each_and_compact_in_chunks(adapter: Adapter, json_stream: str) -> None:
    for data in ('{"id": 0}', "[1, 2, 3]", '"text"', "null", "42", "12345678901234567890"):
        adapter.ok("append", path=json_stream, data=data)
    (chunk,) = adapter.ok("read", path=json_stream)["chunks"]
    assert chunk["data"] == '[{"id":0},[1,2,3],"text",null,42,12345678901234567890]'


def test_json_that_is_none_is_refused_and_nothing_stored(adapter: Adapter, json_stream: str) -> None:
    adapter.refused("INVALID_ARGUMENT", "append", path=json_stream, data="{not json")
    assert adapter.ok("read", path=json_stream)["chunks"] == []


# Reads


@pytest.mark.parametrize("live", [*ALL_MODES, "auto"])
@pytest.mark.parametrize(
    ("content_type", "data", "whole"), [(TEXT, "ab", "abab"), (JSON, '{"a": 1}', '[{"a":1},{"a":1}]')]
)
def test_every_mode_reads_the_same(
    adapter: Adapter, live: object, content_type: str, data: str, whole: str, path: str
) -> None:
    adapter.ok("create", path=path, contentType=content_type)
    middle = adapter.ok("append", path=path, data=data)["offset"]
    end = adapter.ok("append", path=path, data=data)["offset"]
    read = adapter.ok("read", path=path, live=live, waitForUpToDate=True)
    assert read["status"] == 200 and states(read) == (True, False)
    assert ("".join(chunk["data"] for chunk in read["chunks"]), read["offset"]) == (whole, end)
    rest = adapter.ok("read", path=path, live=live, waitForUpToDate=True, offset=middle)
    assert len(rest["chunks"]) == 1 and rest["offset"] == end


@pytest.mark.parametrize("live", ALL_MODES)
@pytest.mark.parametrize("content_type", [TEXT, JSON, BYTES])
def test_an_empty_stream_has_no_chunks_in_any_mode(
    adapter: Adapter, live: object, content_type: str, path: str
) -> None:
    adapter.ok("create", path=path, contentType=content_type)
    read = adapter.ok("read", path=path, live=live, waitForUpToDate=True)
    assert read["chunks"] == [] and states(read) == (True, False) and read["offset"]


@pytest.mark.parametrize("live", ALL_MODES)
def test_now_gives_the_tail_to_go_on_from(adapter: Adapter, live: object, text: str) -> None:
    tail = adapter.ok("append", path=text, data="old")["offset"]
    read = adapter.ok("read", path=text, live=live, offset="now", waitForUpToDate=True)
    assert (read["chunks"], read["offset"], read["upToDate"]) == ([], tail, True)
    adapter.ok("append", path=text, data="new")
    assert adapter.data(text, offset=read["offset"]) == "new"


def test_a_long_poll_in_vain_is_a_204(adapter: Adapter, text: str) -> None:
    adapter.ok("append", path=text, data="old")
    read = adapter.ok("read", path=text, live="long-poll", offset="now", timeoutMs=900)
    assert (read["status"], read["chunks"], *states(read)) == (204, [], True, False)


@pytest.mark.parametrize("live", LIVE_MODES)
def test_time_is_up_with_what_was_there(adapter: Adapter, live: object, text: str) -> None:
    adapter.ok("append", path=text, data="old")
    start = time.monotonic()
    read = adapter.ok("read", path=text, live=live, timeoutMs=300)
    assert time.monotonic() - start >= 0.3
    assert [chunk["data"] for chunk in read["chunks"]] == ["old"] and states(read) == (True, False)


@pytest.mark.parametrize("live", LIVE_MODES)
def test_data_that_comes_while_a_read_waits_is_received(
    adapter: Adapter, root: Server, live: object, text: str
) -> None:
    offset = adapter.ok("append", path=text, data="old")["offset"]
    adapter.send("read", path=text, offset=offset, live=live, maxChunks=1, timeoutMs=20_000)
    server_append(root.url + text, "new")
    read = adapter.answer()
    assert [chunk["data"] for chunk in read["chunks"]] == ["new"]


@pytest.mark.parametrize("live", LIVE_MODES)
def test_closing_ends_a_read_that_waits(adapter: Adapter, root: Server, live: object, text: str) -> None:
    adapter.send("read", path=text, live=live, timeoutMs=20_000)
    server_append(root.url + text, "last")
    server_close(root.url + text)
    read = adapter.answer()
    assert "".join(chunk["data"] for chunk in read["chunks"]) == "last" and states(read) == (True, True)


@pytest.mark.parametrize("live", ALL_MODES)
def test_the_end_of_a_closed_stream_is_told_at_its_tail(adapter: Adapter, live: object, text: str) -> None:
    end = adapter.ok("append", path=text, data="data")["offset"]
    adapter.ok("close", path=text)
    assert states(adapter.ok("read", path=text, live=live)) == (True, True)
    at_end = adapter.ok("read", path=text, live=live, offset=end)
    assert at_end["chunks"] == [] and states(at_end) == (True, True)


# Faults

READ_FAULTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 500, "count": 2},
    {"status": 503},
    {"status": 429, "retry_after": 1},
    {"drop_connection": True},
    {"drop_connection": True, "count": 2},
    {"delay_ms": 100, "jitter_ms": 100},
    {"delay_ms": 50, "status": 503},
]


@pytest.mark.parametrize("fault", READ_FAULTS, ids=json.dumps)
@pytest.mark.parametrize("live", [False, "sse"])
def test_reads_survive(adapter: Adapter, root: Server, fault: dict[str, Any], live: object, text: str) -> None:
    adapter.ok("append", path=text, data="test-data")
    root.inject_fault(text, fault)
    assert adapter.data(text, live=live, waitForUpToDate=True) == "test-data"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"drop_connection": True}], ids=json.dumps)
@pytest.mark.parametrize("command", ["append", "idempotent-append"])
def test_appends_survive_and_are_stored_once(
    adapter: Adapter, root: Server, fault: dict[str, Any], command: str, text: str
) -> None:
    root.inject_fault(text, fault, method="POST")
    adapter.ok(command, path=text, data="a", producerId="p", epoch=0, autoClaim=False)
    assert adapter.data(text) == "a"


def test_retry_after_is_heeded(adapter: Adapter, root: Server, text: str) -> None:
    root.inject_error(text, 429, retry_after=1)
    start = time.monotonic()
    adapter.ok("append", path=text, data="a")
    assert time.monotonic() - start >= 1.0


def test_what_the_server_refuses_is_not_tried_again(adapter: Adapter, root: Server, text: str) -> None:
    root.inject_error(text, 400)
    assert adapter.refused("INVALID_OFFSET", "read", path=text)["status"] == 400
    assert adapter.ok("read", path=text)["chunks"] == []


def test_twenty_failures_end_before_the_runner_gives_up(root: Server) -> None:
    with Adapter("sync") as one, Adapter("async") as other:
        for adapter in (one, other):
            adapter.ok("init", serverUrl=root.url)
            adapter.ok("create", path=f"/{adapter.face}-fails", contentType=TEXT)
            root.inject_error(f"/{adapter.face}-fails", 500, count=20)
        for adapter in (one, other):
            adapter.send("read", path=f"/{adapter.face}-fails")
        for adapter in (one, other):
            answer = adapter.answer()
            assert (answer["success"], answer.get("errorCode")) in ((True, None), (False, "UNEXPECTED_STATUS"))
    root.clear_faults()


def test_json_that_is_spoilt_is_a_parse_error(adapter: Adapter, root: Server, json_stream: str) -> None:
    adapter.ok("append", path=json_stream, data='{"a": 1}')
    root.inject_fault(json_stream, corrupt_body=True)
    adapter.refused("PARSE_ERROR", "read", path=json_stream)


def test_unknown_sse_events_are_passed_over(adapter: Adapter, root: Server, text: str) -> None:
    offset = adapter.ok("append", path=text, data="old")["offset"]
    # The first request of a live read is a plain one, and uses up the fault once.
    root.inject_fault(text, count=2, inject_sse_event={"eventType": "future", "data": '{"some": "data"}'})
    adapter.send("read", path=text, live="sse", offset=offset, maxChunks=1, timeoutMs=20_000)
    server_append(root.url + text, "new")
    assert [chunk["data"] for chunk in adapter.answer()["chunks"]] == ["new"]


@pytest.mark.parametrize("data", ["{invalid json here", ""])
def test_control_events_without_json_are_parse_errors(adapter: Adapter, root: Server, data: str, text: str) -> None:
    adapter.ok("append", path=text, data="data-before-error")
    root.inject_fault(text, count=2, inject_sse_event={"eventType": "control", "data": data})
    adapter.refused("PARSE_ERROR", "read", path=text, live="sse", timeoutMs=5000)


def test_an_answer_without_an_offset_is_an_error(adapter: Adapter, path: str) -> None:
    with ScriptedServer(lambda request: Answer(200, {"content-type": TEXT, "stream-up-to-date": "true"}, b"x")) as bad:
        adapter.ok("init", serverUrl=bad.url)
        assert adapter.result("read", path=path)["success"] is False


CONTROL = b'event: control\ndata: {"streamNextOffset":"2","streamCursor":"c","upToDate":true,"streamClosed":true}\n\n'


@pytest.mark.parametrize(
    ("events", "data"),
    [
        (b"event: data\ndata:  two spaces\n\n", " two spaces"),
        (b"event:data\ndata:none\n\n", "none"),
        (b"event: data\r\ndata: a\r\ndata: b\r\n\r\n", "a\nb"),
        (b"event: data\rdata: a\rdata: b\r\r", "a\nb"),
        ("event: data\ndata: a\u0085b\u2028c\u2029d\n\n".encode(), "a\u0085b\u2028c\u2029d"),
        (b": comment\nid: 7\nretry: 1\nevent: data\ndata: x\n\n", "x"),
    ],
)
def test_sse_is_parsed_by_the_standard(adapter: Adapter, path: str, events: bytes, data: str) -> None:
    with ScriptedServer(_sse(TEXT, events)) as server:
        adapter.ok("init", serverUrl=server.url)
        read = adapter.ok("read", path=path, live="sse")
        assert ("".join(chunk["data"] for chunk in read["chunks"]), *states(read)) == (data, True, True)


def test_base64_over_sse_is_decoded_event_by_event(adapter: Adapter, path: str) -> None:
    events = b"event: data\ndata: SGVs\ndata: bG8g\n\nevent: data\ndata: V29ybGQ=\n\n"
    with ScriptedServer(_sse(BYTES, events)) as server:
        adapter.ok("init", serverUrl=server.url)
        assert adapter.data(path, live="sse") == "Hello World"


def _sse(content_type: str, events: bytes) -> Any:
    """An empty stream, followed live by these events and its end."""

    def script(request: Request) -> Answer:
        headers = {"stream-next-offset": "1", "stream-up-to-date": "true"}
        if request.query.get("live") != "sse":
            return Answer(200, {**headers, "content-type": content_type})
        encoding = {"stream-sse-data-encoding": "base64"} if content_type == BYTES else {}
        return Answer(200, {**headers, **encoding, "content-type": "text/event-stream"}, events + CONTROL)

    return script


# Producers


def test_a_producer_goes_on_between_commands(adapter: Adapter, text: str) -> None:
    producer = {"path": text, "producerId": "p", "epoch": 0, "autoClaim": False}
    results = [adapter.ok("idempotent-append", data=data, **producer) for data in "abc"]
    assert [(result["status"], result["producerSeq"], result["duplicate"]) for result in results] == [
        (200, 0, False),
        (200, 1, False),
        (200, 2, False),
    ]
    adapter.ok("idempotent-detach", path=text, producerId="p", epoch=0)
    adapter.ok("append", path=text, data="d")
    read = adapter.ok("read", path=text)
    assert read["chunks"][0]["data"] == "abcd" and read["streamClosed"] is False


@pytest.mark.parametrize("auto_claim", [False, True])
@pytest.mark.parametrize("in_flight", [None, 1, 5])
def test_batches_arrive_whole_and_in_order(
    adapter: Adapter, auto_claim: bool, in_flight: int | None, text: str
) -> None:
    items = [f"msg-{number:02}" for number in range(20)]
    options = {} if in_flight is None else {"maxInFlight": in_flight}
    adapter.ok(
        "idempotent-append-batch", path=text, items=items, producerId="p", epoch=0, autoClaim=auto_claim, **options
    )
    assert adapter.data(text) == "".join(items)


def test_batches_of_json_keep_arrays_nested(adapter: Adapter, json_stream: str) -> None:
    items = ["[1, 2, 3]", "null", '"text"', '{"obj": 1}', "[]"]
    adapter.ok(
        "idempotent-append-batch", path=json_stream, items=items, producerId="p", epoch=0, autoClaim=False
    )
    assert adapter.data(json_stream) == '[[1,2,3],null,"text",{"obj":1},[]]'


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"drop_connection": True}], ids=json.dumps)
def test_batches_in_flight_survive_in_order(adapter: Adapter, root: Server, fault: dict[str, Any], text: str) -> None:
    items = [f"msg-{number:02}" for number in range(20)]
    root.inject_fault(text, fault, method="POST", count=10, probability=0.5)
    adapter.ok(
        "idempotent-append-batch", path=text, items=items, producerId="p", epoch=0, autoClaim=False, maxInFlight=5
    )
    root.clear_faults()
    assert adapter.data(text) == "".join(items)


def test_a_stale_epoch_is_refused_and_claimed_on_demand(adapter: Adapter, root: Server, text: str) -> None:
    assert server_append(root.url + text, "first", producer=("p", 5, 0)) == 200
    refused = adapter.refused(
        "UNEXPECTED_STATUS", "idempotent-append", path=text, data="x", producerId="p", epoch=0, autoClaim=False
    )
    assert refused["status"] == 403
    adapter.ok("idempotent-append", path=text, data="second", producerId="p", epoch=1, autoClaim=True)
    assert adapter.data(text) == "firstsecond"


def test_auto_claim_takes_over_from_another_producer_of_the_same_epoch(
    adapter: Adapter, root: Server, text: str
) -> None:
    server_append(root.url + text, "first", producer=("p", 0, 0))
    for data in ("second", "third"):
        adapter.ok("idempotent-append", path=text, data=data, producerId="p", epoch=0, autoClaim=True)
    assert adapter.data(text) == "firstsecondthird"


def test_a_producer_may_close_twice_and_another_not(adapter: Adapter, text: str) -> None:
    producer = {"path": text, "producerId": "p", "epoch": 0, "autoClaim": False}
    adapter.ok("idempotent-append", data="a", **producer)
    first = adapter.ok("idempotent-close", data="b", **producer)
    assert first["status"] == 200 and first["finalOffset"]
    assert adapter.ok("idempotent-close", data="other", **producer) == first
    other = {**producer, "producerId": "q"}
    assert adapter.refused("STREAM_CLOSED", "idempotent-close", data="c", **other)["status"] == 409
    assert adapter.refused("STREAM_CLOSED", "idempotent-append", data="c", **{**producer, "producerId": "r"})
    read = adapter.ok("read", path=text)
    assert read["chunks"][0]["data"] == "ab" and states(read) == (True, True)


def test_closing_with_data_wraps_json(adapter: Adapter, json_stream: str) -> None:
    adapter.ok("idempotent-close", path=json_stream, data="[1, 2]", producerId="p", epoch=0, autoClaim=False)
    assert adapter.data(json_stream) == "[[1,2]]"


# Dynamic values


def test_counters_count_commands_and_not_requests(adapter: Adapter, root: Server, text: str) -> None:
    with ScriptedServer(upstream=root.url) as proxy:
        adapter.ok("init", serverUrl=proxy.url)
        adapter.ok("set-dynamic-header", name="X-Count", valueType="counter")
        adapter.ok("set-dynamic-header", name="X-Token", valueType="token", initialValue="secret")
        adapter.ok("set-dynamic-param", name="n", valueType="counter")
        root.inject_error(text, 503, count=2)
        results = [
            adapter.ok("append", path=text, data="a"),
            adapter.ok("read", path=text),
            adapter.ok("read", path=text, headers={"X-Token": "mine"}),
        ]
        expected = [("1", "secret"), ("2", "secret"), ("3", "mine")]
        assert [result["headersSent"] for result in results] == [
            {"X-Count": count, "X-Token": token} for count, token in expected
        ]
        assert [result["paramsSent"] for result in results] == [{"n": count} for count, _ in expected]
        seen = {(r.headers["x-count"], r.headers["x-token"], r.query["n"]) for r in proxy.requests}
        assert len(proxy.requests) > len(expected)
        assert seen == {(count, token, count) for count, token in expected}


def test_timestamps_are_of_the_command(adapter: Adapter, text: str) -> None:
    adapter.ok("set-dynamic-header", name="X-Time", valueType="timestamp")
    before = time.time_ns() // 1_000_000
    sent = int(adapter.ok("append", path=text, data="a")["headersSent"]["X-Time"])
    assert before <= sent <= time.time_ns() // 1_000_000
    adapter.ok("clear-dynamic")
    assert not {"headersSent", "paramsSent"} & set(adapter.ok("read", path=text))


# Validation


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"maxRetries": -1}, "maxRetries"),
        ({"initialDelayMs": 0}, "initialDelayMs"),
        ({"initialDelayMs": -100}, "initialDelayMs"),
        ({"initialDelayMs": 1000, "maxDelayMs": 500}, "maxDelayMs"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"maxRetries": 3, "initialDelayMs": 100, "maxDelayMs": 5000, "multiplier": 2.0}, None),
        ({"maxRetries": 0}, None),
        ({}, None),
    ],
)
def test_retry_options_are_validated(adapter: Adapter, options: dict[str, Any], named: str | None) -> None:
    _validate(adapter, {"target": "retry-options", **options}, named)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"epoch": -1}, "epoch"),
        ({"maxBatchBytes": 0}, "maxBatchBytes"),
        ({"maxBatchBytes": -1}, "maxBatchBytes"),
        ({"maxBatchItems": 0}, "maxBatchItems"),
        ({"maxBatchItems": -1}, "maxBatchItems"),
        ({"producerId": "p", "epoch": 0, "maxBatchBytes": 1048576, "maxBatchItems": 1}, None),
        ({}, None),
    ],
)
def test_producer_options_are_validated(adapter: Adapter, options: dict[str, Any], named: str | None) -> None:
    _validate(adapter, {"target": "idempotent-producer", **options}, named)


def _validate(adapter: Adapter, target: dict[str, Any], named: str | None) -> None:
    if named is None:
        adapter.ok("validate", target=target)
    else:
        assert named in adapter.refused("INVALID_ARGUMENT", "validate", target=target)["message"]


# Benchmarks


def test_benchmarks_measure_what_they_say(adapter: Adapter, path: str) -> None:
    def measure(**operation: Any) -> tuple[int, int]:
        result = adapter.ok("benchmark", iterationId="i", operation=operation)
        assert result["iterationId"] == "i" and int(result["durationNs"]) > 0
        return result["metrics"]["bytesTransferred"], result["metrics"]["messagesProcessed"]

    measure(op="create", path=path)
    assert measure(op="append", path=path, size=100) == (100, 0)
    assert measure(op="read", path=path) == (100, 0)
    # Runs share their paths: what an earlier one stored is not to be taken for the answer.
    for _ in range(2):
        assert measure(op="roundtrip", path=path + "-r", size=100, live="long-poll") == (200, 0)
        wrapped = measure(op="roundtrip", path=path + "-s", size=100, live="sse", contentType=JSON)
        assert wrapped == (202, 0)
    assert measure(op="throughput_read", path=path + "-s", expectedCount=100_000) == (200, 2)
    for runs in (1, 2):
        assert measure(op="throughput_append", path=path + "-t", count=1000, size=10, concurrency=200) == (10_000, 1000)
        assert len(adapter.data(path + "-t")) == 10_000 * runs


def test_a_benchmark_that_fails_says_so(adapter: Adapter, path: str) -> None:
    adapter.refused("NOT_FOUND", "benchmark", iterationId="1", operation={"op": "read", "path": path})
