"""A server whose streams are in a folder."""

from pathlib import Path

import pytest

from everstream import DurableStream, InvalidArgumentError, stream
from everstream.testing import Server


def test_streams_in_a_folder_outlive_the_server(tmp_path: Path) -> None:
    with Server(data_dir=tmp_path / "data") as server:
        DurableStream.create(server.stream_url("s"), content_type="application/json").append({"n": 1})
    with Server(data_dir=tmp_path / "data") as server, stream(server.stream_url("s"), live=False) as response:
        assert response.read_json() == [{"n": 1}]


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    with Server(data_dir=tmp_path), pytest.raises(InvalidArgumentError, match="another process"):
        Server(data_dir=tmp_path).start()
