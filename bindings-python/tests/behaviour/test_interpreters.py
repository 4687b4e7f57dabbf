"""More than one interpreter: processes share streams, and a subinterpreter is refused clearly or works."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from everstream import DurableStream

from .children import LIMIT, run, run_clean


def test_two_interpreters_in_two_processes_share_a_stream(durable_stream_url: str) -> None:
    """One writes while the other one reads; neither knows of the other."""
    DurableStream.create(durable_stream_url, content_type="application/json")
    write = """
    import sys
    from everstream import DurableStream
    handle = DurableStream(sys.argv[1])
    with handle.producer("writer", linger_ms=0) as producer:
        for number in range(2000):
            producer.append(number)
    handle.close_stream()
    """
    read = """
    import sys
    from everstream import stream
    with stream(sys.argv[1]) as response:
        print(list(response.iter_json()) == list(range(2000)))
    """
    commands = [[sys.executable, "-c", textwrap.dedent(code), durable_stream_url] for code in (read, read, write)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    answers = [process.communicate(timeout=LIMIT) for process in processes]
    assert answers == [("True\n", ""), ("True\n", ""), ("", "")]


SUBINTERPRETERS = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import sys
url = sys.argv[1]
TRY = '''
try:
    from everstream import DurableStream
except ImportError as error:
    text = "refused: " + str(error)
else:
    text = "works: " + str(DurableStream(URL).head().exists)
with open(FILE, "w") as file:
    file.write(text)
'''
def in_another(number):
    path = f"{sys.argv[2]}/{number}"
    other = interpreters.create()
    failed = interpreters.run_string(other, f"URL = {url!r}\\nFILE = {path!r}\\n{TRY}")
    interpreters.destroy(other)
    assert not failed, failed
    with open(path) as file:
        return file.read()
"""


def in_subinterpreters(code: str, url: str, folder: object) -> str:
    done = run(SUBINTERPRETERS + textwrap.dedent(code), url, str(folder))
    if "No module named '_xxsubinterpreters'" in done.stderr:
        pytest.skip("this Python has no subinterpreters")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def allowed(answer: str) -> bool:
    return answer == "works: True" or (answer.startswith("refused:") and "interpreter" in answer)


def test_a_subinterpreter_is_refused_by_an_import_error_or_works(durable_stream_url: str, tmp_path: object) -> None:
    DurableStream.create(durable_stream_url)
    answer = in_subinterpreters("print(in_another(0))", durable_stream_url, tmp_path)
    assert allowed(answer.strip()), answer


def test_the_main_interpreter_goes_on_after_subinterpreters_tried(durable_stream_url: str, tmp_path: object) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    from everstream import DurableStream
    handle = DurableStream(url)
    with handle.producer("p") as producer, handle.stream() as response:
        items = response.iter_json()
        for number in range(5):
            producer.append(number)
            assert next(items) == number
            print(in_another(number))
    """
    answers = in_subinterpreters(code, durable_stream_url, tmp_path).splitlines()
    assert len(answers) == 5
    assert all(allowed(answer) for answer in answers), answers


def test_the_import_is_quick_and_light() -> None:
    """Neither asyncio nor logging nor an HTTP library comes along, nor is a thread started."""
    code = """
    import sys, threading, everstream, os
    everstream.DurableStream
    heavy = {"asyncio", "logging", "ssl", "http", "httpx", "email", "urllib.request", "multiprocessing", "pytest"}
    assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
    if os.path.isdir("/proc/self/task"):
        assert len(os.listdir("/proc/self/task")) == 1
    """
    run_clean(code)


def test_isolated_mode_and_optimised_code_work(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json", body=[1])
    code = "import sys; from everstream import stream; print(stream(sys.argv[1], live=False).read_json())"
    for options in (("-I",), ("-OO",), ("-X", "utf8"), ("-b",)):
        assert run_clean(code, durable_stream_url, options=options) == "[1]\n"
