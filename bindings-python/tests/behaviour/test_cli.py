"""The commands that come with the package are the command line, with its exit codes and its Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator

import pytest

from everstream import DurableStream, FileCheckpoints, __version__, stream
from everstream.testing import Server

from .children import LIMIT, started

SCRIPTS = sysconfig.get_path("scripts")
COMMANDS = {
    "everstream": [os.path.join(SCRIPTS, "everstream")],
    "durable-stream": [os.path.join(SCRIPTS, "durable-stream")],
    "python -m everstream": [sys.executable, "-m", "everstream"],
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> list[str]:
    command = COMMANDS[request.param]
    if not os.path.exists(command[0]):
        pytest.skip("the package is on the path only, not installed")
    return command


@pytest.fixture
def streams(durable_stream_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment says which server."""
    root = f"{durable_stream_server.url}/v1/stream"
    monkeypatch.setenv("STREAM_URL", root)
    yield root


@pytest.fixture
def name() -> str:
    return f"cli-{uuid.uuid4()}"


def run(*command: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=input, capture_output=True, text=True, timeout=LIMIT)


def succeed(*command: str, input: str | None = None) -> str:
    done = run(*command, input=input)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_create_write_read(command: list[str], streams: str, name: str) -> None:
    succeed(*command, "create", name, "--json")
    succeed(*command, "write", name, "--json", '{"a": 1}')
    succeed(*command, "write", name, "--lines", input="2\n3\n")
    assert succeed(*command, "read", name, "--no-follow", "--json-lines").split() == ['{"a":1}', "2", "3"]
    assert stream(f"{streams}/{name}", live=False).read_json() == [{"a": 1}, 2, 3]
    succeed(*command, "close", name)
    assert name in succeed(*command, "ls")
    assert succeed(*command, "head", name, "--json").startswith("{")
    succeed(*command, "delete", name)
    assert run(*command, "head", name).returncode == 1


def test_what_python_wrote_follows_and_the_end_of_the_stream_ends_it(
    command: list[str], streams: str, name: str
) -> None:
    handle = DurableStream.create(f"{streams}/{name}", content_type="text/plain")
    handle.append("one\n")
    with started([*command, "read", name]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        handle.append("two\n")
        assert process.stdout.readline() == "two\n"
        handle.close_stream()
        assert process.wait(LIMIT) == 0


def test_help_and_version_succeed(command: list[str]) -> None:
    assert __version__ in succeed(*command, "--version")
    for words in (["--help"], ["read", "--help"]):
        assert "Usage:" in succeed(*command, *words)


def test_help_names_the_command_as_it_was_called(command: list[str]) -> None:
    name = "durable-stream" if command[-1].endswith("durable-stream") else "everstream"
    assert f"Usage: {name} " in succeed(*command, "--help")


@pytest.mark.parametrize("words", [[], ["dance"], ["read"], ["read", "a", "--dance"], ["head", "cli-missing"]])
def test_failures_exit_with_1_and_say_why_on_stderr(words: list[str], streams: str) -> None:
    done = run(*COMMANDS["python -m everstream"], *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr != "" and "Traceback" not in done.stderr


def test_ctrl_c_ends_a_read(command: list[str], streams: str, name: str) -> None:
    handle = DurableStream.create(f"{streams}/{name}", content_type="text/plain")
    handle.append("one\n")
    with started([*command, "read", name]) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "one\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) in (-signal.SIGINT, 0, 1, 130)
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_serves_until_it_is_told_to_stop(command: list[str], ending: signal.Signals) -> None:
    with Server() as free:
        port = free.port
    with started([*command, "serve", "--port", str(port), "--storage", "memory"]) as process:
        handle = DurableStream(f"http://127.0.0.1:{port}/v1/stream/a", content_type="text/plain")
        # Refused connections are tried again until it listens.
        handle.create_stream()
        handle.append("served")
        assert handle.stream(live=False).read_text() == "served"
        process.send_signal(ending)
        assert process.wait(LIMIT) == 0


def test_a_reader_that_goes_away_ends_the_command(streams: str, name: str) -> None:
    """As `everstream read a | head -1` does."""
    handle = DurableStream.create(f"{streams}/{name}", content_type="text/plain", body="one\n")
    with started([*COMMANDS["python -m everstream"], "read", name]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        handle.append("two\n")
        assert process.wait(LIMIT) is not None
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


def test_bytes_come_out_as_they_are(streams: str, name: str) -> None:
    everything = bytes(range(256)) * 100
    DurableStream.create(f"{streams}/{name}", body=everything)
    done = subprocess.run(
        [*COMMANDS["python -m everstream"], "read", name, "--no-follow"], capture_output=True, timeout=LIMIT, check=True
    )
    assert done.stdout == everything


def test_a_checkpoint_file_is_the_one_of_the_library(streams: str, name: str, tmp_path: object) -> None:
    handle = DurableStream.create(f"{streams}/{name}", content_type="application/json", body=[1, 2])
    path = f"{tmp_path}/checkpoint"
    words = [*COMMANDS["python -m everstream"], "read", name, "--no-follow", "--json-lines", "--checkpoint", path]
    assert succeed(*words).split() == ["1", "2"]
    handle.append_json(3)
    with open(path) as file:
        stream_name = json.load(file)["stream"]
    with handle.stream(store=FileCheckpoints(path, stream_name), live=False) as response:
        assert list(response.iter_json()) == [3]
    assert succeed(*words) == ""
