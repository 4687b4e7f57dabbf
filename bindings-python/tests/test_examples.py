"""Every example of `examples/python`, as a user runs it: a process of its own, against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from everstream import DurableStream, stream
from everstream.testing import Server
from support import JSON, TEXT, until

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are in the repository only")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")


class Example:
    """An example under way; its output so far is in `out`."""

    def __init__(self, server: Server, folder: Path, name: str, *args: str, **env: str) -> None:
        environment = {**os.environ, "STREAM_URL": f"{server.url}/v1/stream", "PYTHONUNBUFFERED": "1", **env}
        # Read by its name: a handle that the example has too would share its position.
        self._out = folder / f"{name}-{uuid4()}.out"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name), *args],
                env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    def end(self) -> str:
        """Waits for its end, which must be a success, and gives what it said."""
        assert self.process.wait(60) == 0, self.out
        return self.out

    def __enter__(self) -> Example:
        return self

    def __exit__(self, *args: object) -> None:
        self.process.kill()
        self.process.wait()


def test_every_example_is_tested_here() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    text = Path(__file__).read_text()
    readme = (EXAMPLES / "README.md").read_text()

    assert names == {name for name in names if f'"{name}"' in text and f"]({name})" in readme}
    assert len(names) == 6


def test_quickstart(server: Server, tmp_path: Path) -> None:
    with Example(server, tmp_path, "quickstart.py") as example:
        assert example.end().splitlines() == [
            *(f"read {{'order': {number}}}" for number in (1, 2, 3)),
            *(f"went on with {{'order': {number}}}" for number in (4, 5)),
            "The stream is closed.",
        ]


def test_live_tail_prints_messages_as_they_come_and_ends_with_the_stream(
    server: Server, url: str, tmp_path: Path
) -> None:
    handle = DurableStream.create(url, content_type=JSON)
    handle.append({"n": 0})
    with Example(server, tmp_path, "live_tail.py", url.rsplit("/", 1)[1]) as example:
        for number in range(1, 4):
            until(lambda: example.out.count("\n") == number, "the line before is printed")
            handle.append({"n": number})
        handle.close_stream()
        assert example.end() == '{"n": 0}\n{"n": 1}\n{"n": 2}\n{"n": 3}\n-- the stream is closed --\n'


def test_live_tail_of_text_goes_on_through_broken_connections(
    server: Server, url: str, path: str, tmp_path: Path
) -> None:
    handle = DurableStream.create(url, content_type=TEXT)
    handle.append("one ")
    server.inject_fault(path, method="GET", drop_connection=True, count=2)
    with Example(server, tmp_path, "live_tail.py", url.rsplit("/", 1)[1]) as example:
        until(lambda: example.out == "one ", "what is there is printed")
        handle.append("two ")
        until(lambda: example.out == "one two ", "what is new is printed")
        handle.close_stream()
        assert example.end() == "one two -- the stream is closed --\n"


@posix
def test_live_tail_ends_with_ctrl_c(server: Server, url: str, tmp_path: Path) -> None:
    DurableStream.create(url, content_type=TEXT).append("one\n")
    with Example(server, tmp_path, "live_tail.py", url.rsplit("/", 1)[1]) as example:
        until(lambda: example.out == "one\n", "it waits at the tail")
        example.process.send_signal(signal.SIGINT)
        assert example.process.wait(20) == 130
        assert example.out == "one\n"


def test_live_tail_says_when_there_is_no_stream(server: Server, tmp_path: Path) -> None:
    with Example(server, tmp_path, "live_tail.py", "no-such-stream", "--new") as example:
        assert example.process.wait(20) == 1
        assert "no-such-stream" in example.out and "Traceback" not in example.out


def test_resume_after_kill_kills_its_workers_and_every_order_is_processed_once(
    server: Server, tmp_path: Path
) -> None:
    with Example(server, tmp_path, "resume_after_kill.py") as example:
        *kills, last = example.end().splitlines()

    assert len(kills) >= 3 and all(line.startswith("killed after ") for line in kills)
    assert last == "500 orders, each processed once and in order"


@posix
def test_a_worker_of_resume_after_kill_survives_sigkill_at_any_moment(
    server: Server, url: str, tmp_path: Path
) -> None:
    handle = DurableStream.create(url, content_type=JSON)
    ledger = tmp_path / "ledger"
    expected = [f"order {number}" for number in range(1, 201)]
    for kill_at in range(20, 200, 45):
        for number in range(kill_at - 19 if kill_at == 20 else kill_at - 44, kill_at + 1):
            handle.append({"order": number})
        with Example(server, tmp_path, "resume_after_kill.py", url, str(tmp_path)) as worker:
            # Somewhere in the last ten.
            until(lambda: ledger.exists() and ledger.read_text().count("\n") > kill_at - 10, "it has processed some")
            worker.process.kill()
            assert worker.process.wait() == -signal.SIGKILL
    for number in range(156, 201):
        handle.append({"order": number})
    handle.close_stream()
    with Example(server, tmp_path, "resume_after_kill.py", url, str(tmp_path)) as worker:
        assert worker.end() == ""

    assert ledger.read_text().splitlines() == expected
    assert json.loads((tmp_path / "checkpoint").read_text())


@posix
def test_workers_share_the_jobs_and_take_over_from_one_that_is_killed(tmp_path: Path) -> None:
    jobs = [{"job": number} for number in range(60)]
    with (
        Server() as server,
        Example(server, tmp_path, "worker.py", "one", LEASE="1") as one,
        Example(server, tmp_path, "worker.py", "two", LEASE="1") as two,
    ):
        workers = (one, two)
        for worker in workers:
            until(lambda: worker.out.startswith("ready\n") or worker.process.poll() is not None, "it works")
        streams = [DurableStream.create(server.stream_url(f"jobs/{name}"), content_type=JSON) for name in "abc"]

        def done() -> set[str]:
            return {line for worker in workers for line in worker.out.splitlines()[1:]}

        for number, job in enumerate(jobs):
            streams[number % 3].append(job)
            if number == 30:
                until(lambda: len(done()) > 20, "some are done")
                # Somewhere in its work, or before, or after.
                one.process.kill()
        until(lambda: len(done()) == len(jobs) or two.process.poll() is not None, "all are done")

        assert done() == {f"jobs/{'abc'[number % 3]}: {json.dumps(job)}" for number, job in enumerate(jobs)}
        two.process.send_signal(signal.SIGINT)
        assert two.process.wait(20) == 130, two.out


def test_token_streaming(server: Server, tmp_path: Path) -> None:
    with Example(server, tmp_path, "token_streaming.py") as example:
        out = example.end()

    before, after, stopped = (
        re.findall(rf"^{what}: +(.*)$", out, re.MULTILINE)[0]
        for what in ("seen before the reload", "seen after the reload", "stopped after")
    )
    assert before.startswith("Streams that") and after.endswith("read along. 🎉 ")
    assert (before + " " + after).startswith(stopped.rstrip()) and len(stopped) < len(before + after)
    assert out.count("the model has stopped") == 2


@pytest.fixture
def model_url() -> Iterator[str]:
    pytest.importorskip("fastapi", reason="pip install -r tests/requirements.txt")
    pytest.importorskip("openai", reason="pip install -r tests/requirements.txt")
    pytest.importorskip("httpx", reason="pip install -r tests/requirements.txt")
    pytest.importorskip("uvicorn", reason="pip install -r tests/requirements.txt")
    from ai_servers import Model, WebServer

    with WebServer(Model(["Once", " upon", "\n", " a 😀", " time"], pause=0.01)) as url:
        yield f"{url}/v1"


def test_fastapi_chat(server: Server, tmp_path: Path, model_url: str) -> None:
    def ask(method: str, path: str, value: object = None) -> tuple[int, str]:
        body = None if value is None else json.dumps(value).encode()
        request = Request(address + path, body, {"content-type": "application/json"}, method=method)
        with urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()

    environment = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": model_url, "PORT": "0"}
    with Example(server, tmp_path, "fastapi_chat.py", **environment) as example:
        until(lambda: "running on" in example.out or example.process.poll() is not None, "it serves")
        found = re.search(r"http://127\.0\.0\.1:\d+", example.out)
        assert found, example.out
        address = found[0]
        chat = f"/chats/{uuid4()}"

        assert "EventSource" in ask("GET", "/")[1]
        assert ask("POST", chat, {"question": "Tell me."})[0] == 201
        data = re.findall(r"^data: (.*)$", ask("GET", chat)[1], re.MULTILINE)
        assert "".join(json.loads(value) or "" for value in data) == "Once upon\n a 😀 time"
        assert ask("DELETE", chat)[0] == 204

        with stream(f"{server.url}/v1/stream/chat-{chat[7:]}") as response:
            assert response.read_text() == "Once upon\n a 😀 time"
        assert "Traceback" not in example.out
