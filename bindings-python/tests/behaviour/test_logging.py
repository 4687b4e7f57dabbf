"""The log is in `logging`, below the logger `everstream`; silent unless somebody listens, and without secrets."""

from __future__ import annotations

import logging
import textwrap

from everstream.testing import Server

from . import children

FAILING = """
import sys
from everstream import DurableStream, Retry, ServerError, Timeout
url = sys.argv[1]
def fail():
    handle = DurableStream(url, content_type="text/plain", retry=Retry(initial_delay=0.001, max_retries=3))
    try:
        handle.head()
    except ServerError:
        return
    raise AssertionError("no failure")
"""

SHOWING = """
import logging, threading
class Keep(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []
        self.changed = threading.Condition()
    def emit(self, record):
        with self.changed:
            self.records.append(record)
            self.changed.notify_all()
    def wait_for(self, name, text):
        def found():
            return [it for it in self.records if it.name == name and text in it.getMessage()]
        with self.changed:
            assert self.changed.wait_for(found, 20), [(it.name, it.getMessage()) for it in self.records]
            return found()[0]
keep = Keep()
"""


def failing(server: Server, *codes: str) -> str:
    """Runs code whose requests the server answers with 500."""
    server.inject_error("/v1/stream/fails", 500, count=1000)
    try:
        code = "\n".join(textwrap.dedent(code) for code in codes)
        return children.run_clean(code, server.stream_url("fails"))
    finally:
        server.clear_faults()


def test_the_import_does_not_import_logging() -> None:
    children.run_clean(
        "import everstream, sys; everstream.DurableStream('http://a/b'); assert 'logging' not in sys.modules"
    )


def test_silent_by_default(durable_stream_server: Server) -> None:
    failing(durable_stream_server, FAILING, "fail()")


def test_silent_when_logging_is_imported_but_not_set_up(durable_stream_server: Server) -> None:
    failing(durable_stream_server, "import logging, asyncio", FAILING, "fail()")


def test_silent_when_only_warnings_are_wanted_and_there_are_none(durable_stream_server: Server) -> None:
    assert failing(durable_stream_server, "import logging\nlogging.basicConfig()", FAILING, "fail()") == ""


def test_records_of_the_client(durable_stream_server: Server) -> None:
    use = """
    logging.getLogger("everstream").addHandler(keep)
    logging.getLogger("everstream").setLevel("DEBUG")
    fail()
    record = keep.wait_for("everstream.client", "trying again")
    assert record.levelno == logging.DEBUG and record.levelname == "DEBUG"
    assert "500" in record.getMessage(), record.getMessage()
    """
    failing(durable_stream_server, SHOWING, FAILING, use)


def test_records_of_the_server() -> None:
    use = """
    logging.getLogger("everstream").addHandler(keep)
    logging.getLogger("everstream").setLevel("INFO")
    from everstream import Server
    with Server() as server:
        record = keep.wait_for("everstream.server", "listening")
        assert record.levelno == logging.INFO
        assert str(server.port) in record.getMessage()
    assert {it.levelno >= logging.INFO for it in keep.records} == {True}
    """
    children.run_clean(SHOWING + textwrap.dedent(use))


def test_a_level_set_later_counts_from_the_next_handle_on(durable_stream_server: Server) -> None:
    use = """
    fail()
    logging.getLogger().addHandler(keep)
    fail()
    assert keep.records == []
    logging.getLogger().setLevel("DEBUG")
    fail()
    keep.wait_for("everstream.client", "trying again")
    logging.getLogger("everstream").setLevel("ERROR")
    fail()
    seen = len(keep.records)
    fail()
    # What was under way has come by now: a record of a level that is wanted comes behind it.
    logging.getLogger("everstream").setLevel("DEBUG")
    fail()
    keep.changed.acquire()
    keep.changed.wait_for(lambda: len(keep.records) > seen, 20)
    """
    failing(durable_stream_server, FAILING, "import asyncio", SHOWING, use)


def test_the_level_of_one_logger_below_is_heeded_by_logging_itself(durable_stream_server: Server) -> None:
    use = """
    logging.getLogger().addHandler(keep)
    logging.getLogger("everstream").setLevel("DEBUG")
    logging.getLogger("everstream.client").setLevel("WARNING")
    fail()
    from everstream import Server
    with Server():
        keep.wait_for("everstream.server", "listening")
    assert [it for it in keep.records if it.name == "everstream.client"] == []
    """
    failing(durable_stream_server, SHOWING, FAILING, use)


def test_secrets_are_in_no_record(durable_stream_server: Server) -> None:
    use = """
    logging.getLogger().addHandler(keep)
    logging.getLogger().setLevel(1)
    from everstream import Client, Server, stream
    def use(url):
        query, user = "?token=SECRET1", url.replace("http://", "http://me:SECRET2@")
        headers = {"authorization": "Bearer SECRET3", "cookie": "SECRET4"}
        params = {"key": "SECRET5", "k": lambda: "SECRET6"}
        for where in (url + query, user):
            try:
                handle = DurableStream(
                    where, headers=headers, params=params, content_type="text/plain", timeout=Timeout(total=5),
                    retry=Retry(initial_delay=0.001, max_retries=2),
                )
                handle.create_stream()
                handle.append("SECRET7")
                handle.stream(live=False).read_bytes()
                with handle.producer("p") as producer:
                    producer.append("SECRET8")
                with handle.stream(live="long-poll") as response:
                    next(iter(response))
            except ServerError as error:
                assert "SECRET" not in str(error) + repr(error) + str(error.url)
    use(url)
    with Server() as server:
        use(server.stream_url("a"))
        client = Client(base_url=server.url, proxy=None, params={"key": "SECRET9"})
        client.list(server.url + "/v1/stream")
    keep.wait_for("everstream.client", "trying again")
    keep.wait_for("everstream.server", "answered")
    told = [str(vars(it)) + it.getMessage() for it in keep.records if it.name.startswith("everstream")]
    assert len(told) > 20, len(told)
    assert [text for text in told if "SECRET" in text] == []
    """
    failing(durable_stream_server, SHOWING, FAILING, use)


def test_a_handler_that_fails_or_logs_with_us_does_no_harm(durable_stream_server: Server) -> None:
    use = """
    calls = []
    class Odd(logging.Handler):
        def emit(self, record):
            if not record.name.startswith("everstream"):
                return
            calls.append(record)
            if len(calls) == 2:
                raise KeyError("handler")
            if len(calls) == 3:
                fail()
    logging.getLogger().setLevel("DEBUG")
    logging.getLogger().addHandler(Odd())
    logging.getLogger().addHandler(keep)
    for _ in range(5):
        fail()
    keep.wait_for("everstream.client", "trying again")
    with keep.changed:
        assert keep.changed.wait_for(lambda: len(calls) > 5, 20)
    """
    failing(durable_stream_server, SHOWING, FAILING, use)


def test_percent_signs_are_text(durable_stream_server: Server) -> None:
    use = """
    logging.getLogger().setLevel("DEBUG")
    logging.getLogger().addHandler(keep)
    url += "%20%s"
    try:
        DurableStream(url, retry=Retry(initial_delay=0.001, max_retries=2)).head()
    except Exception:
        pass
    logging.getLogger("everstream").warning("last")
    """
    failing(durable_stream_server, SHOWING, FAILING, use)


def test_one_handler_of_ours_that_does_nothing() -> None:
    import everstream

    for _ in range(3):
        everstream.Client()
    handlers = logging.getLogger("everstream").handlers
    assert [type(handler) for handler in handlers].count(logging.NullHandler) == 1
