"""The pytest fixtures are there as soon as the package is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from everstream import DurableStream, Server, StreamNotFoundError

from .children import LIMIT

installed = any(it.value == "everstream.testing.plugin" for it in metadata.entry_points(group="pytest11"))


def run_pytest(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_generated.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    plugin = () if installed else ("-p", "everstream.testing.plugin")
    # Other plugins have warnings of their own.
    others = ("-p", "no:cacheprovider", "-p", "no:asyncio")
    command = [sys.executable, "-m", "pytest", "-q", *others, *plugin, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT)


def test_a_fresh_project_needs_no_set_up(tmp_path: Path) -> None:
    code = """
from everstream import DurableStream

seen = []

def test_one(durable_stream_url):
    seen.append(durable_stream_url)
    assert DurableStream.create(durable_stream_url, body=b"a").stream(live=False).read_bytes() == b"a"

def test_another_has_a_stream_of_its_own_on_the_same_server(durable_stream_url, durable_stream_server):
    assert durable_stream_url not in seen
    assert durable_stream_url.startswith(durable_stream_server.url)
    assert seen[0].startswith(durable_stream_server.url)
    DurableStream.create(durable_stream_url)
"""
    done = run_pytest(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "2 passed" in done.stdout


def test_the_fixtures_are_listed_with_what_they_are(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "", "--fixtures")
    assert "durable_stream_server [session scope]" in done.stdout
    assert "A real server in this process" in done.stdout


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_nothing_is_started_before_a_test_asks(tmp_path: Path) -> None:
    code = """
import os

def test_no_thread_is_there():
    assert len(os.listdir("/proc/self/task")) == 1

def test_the_server_has_threads(durable_stream_url):
    assert len(os.listdir("/proc/self/task")) > 1
"""
    done = run_pytest(tmp_path, code)
    assert done.returncode == 0, done.stdout


def test_faults_do_not_reach_the_next_test(tmp_path: Path) -> None:
    code = """
import pytest
from everstream import DurableStream, Retry, ServerError

PATH = "/v1/stream/shared"

def test_one(durable_stream_server, durable_stream_url):
    durable_stream_server.inject_error(PATH, 500, count=100)
    with pytest.raises(ServerError):
        DurableStream(durable_stream_server.stream_url("shared"), retry=Retry(max_retries=0)).create_stream()

def test_two(durable_stream_server):
    assert DurableStream(durable_stream_server.stream_url("shared"), retry=Retry(max_retries=0)).create_stream().created
"""
    done = run_pytest(tmp_path, code)
    assert done.returncode == 0, done.stdout


def test_a_test_url_is_not_created_yet(durable_stream_url: str) -> None:
    with pytest.raises(StreamNotFoundError):
        DurableStream(durable_stream_url).head()


def test_the_server_counts_as_one_with_faults(durable_stream_server: Server) -> None:
    assert durable_stream_server.running
    durable_stream_server.inject_error("/v1/stream/x", 503)
    durable_stream_server.clear_faults()
