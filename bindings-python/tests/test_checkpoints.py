"""Checkpoints: exact in the middle of a batch, in every form they are kept in; stores."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everstream import CallbackCheckpoints, Checkpoint, FileCheckpoints, astream, stream
from everstream.testing import Server
from faces import Face
from support import BYTES, JSON, TEXT

FORMS: dict[str, Callable[[Checkpoint], Checkpoint]] = {
    "itself": lambda checkpoint: checkpoint,
    "pickle": lambda checkpoint: pickle.loads(pickle.dumps(checkpoint)),
    "json": lambda checkpoint: Checkpoint.from_json(checkpoint.to_json()),
    "str": lambda checkpoint: Checkpoint.from_json(str(checkpoint)),
    "bytes": lambda checkpoint: Checkpoint.from_json(str(checkpoint).encode()),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_read_goes_on_exactly_in_the_middle_of_a_batch(face: Face, url: str, form: str) -> None:
    face.create(url, content_type=JSON, body=list(range(10)), closed=True)
    for taken in range(11):
        with face.stream(url, live=False) as res:
            items = res.iter_json()
            assert [next(items) for _ in range(taken)] == list(range(taken))
            checkpoint = res.checkpoint()
        with face.stream(url, live=False, checkpoint=FORMS[form](checkpoint)) as res:
            assert res.read_json() == list(range(taken, 10))


@pytest.mark.parametrize("live", [False, True, "long-poll", "sse"])
def test_a_checkpoint_of_the_middle_works_in_every_mode(face: Face, url: str, live: Any) -> None:
    handle = face.create(url, content_type=JSON, body=[0, 1, 2, 3])
    with face.stream(url, live=live) as res:
        items = res.iter_json()
        assert [next(items), next(items)] == [0, 1]
        checkpoint = res.checkpoint()
        # The offset alone is that of the batch's beginning: it repeats, and loses nothing.
        assert (res.offset, checkpoint.skip) == (checkpoint.offset, 2)
    handle.append(4)
    handle.close_stream()
    with face.stream(url, live=live, checkpoint=checkpoint) as res:
        assert list(res.iter_json()) == [2, 3, 4]
    with face.stream(url, live=live, offset=checkpoint) as res:
        assert list(res.iter_json()) == [2, 3, 4]


def test_checkpoints_of_all_items_of_many_answers(face: Face, url: str) -> None:
    with Server(max_read_bytes=40) as server:
        address = server.stream_url("many")
        handle = face.create(address, content_type=JSON)
        for n in range(0, 24, 3):
            handle.append_stream([json.dumps([n, n + 1, n + 2])])
        checkpoints = []
        with face.stream(address, live=False) as res:
            for item in res.iter_json():
                checkpoints.append((item, res.checkpoint()))
        assert [item for item, _ in checkpoints] == list(range(24))
        for item, checkpoint in checkpoints:
            with face.stream(address, live=False, checkpoint=checkpoint) as res:
                assert res.read_json() == list(range(item + 1, 24))


@pytest.mark.parametrize("content_type", [TEXT, BYTES])
def test_a_checkpoint_between_parts_of_one_answer(face: Face, url: str, content_type: str) -> None:
    data = bytes(n % 251 for n in range(300_000)) if content_type == BYTES else ("é" * 150_000).encode()
    face.create(url, content_type=content_type, body=data)
    with face.stream(url, live=False, max_batch_bytes=10_001) as res:
        first = next(iter(res))
        checkpoint = res.checkpoint()
    assert 0 < len(first) < len(data)
    with face.stream(url, live=False, checkpoint=checkpoint) as res:
        assert first + res.read_bytes() == data


def test_text_that_waits_for_the_rest_of_a_character_is_not_handed_over(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT, body=b"caf\xc3")
    with face.stream(url, live=False) as res:
        texts = res.iter_text()
        assert next(texts) == "caf"
        checkpoint = res.checkpoint()
    handle.append(b"\xa9!")
    with face.stream(url, live=False, checkpoint=checkpoint) as res:
        assert res.read_text() == "é!"


def test_an_offset_is_one_after_the_last_item_handed_over(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    first = handle.append(1)
    with face.stream(url, live="long-poll") as res:
        before = res.checkpoint()
        items = res.iter_json()
        assert (before.offset, before.skip) == ("-1", 0)
        assert next(items) == 1
        assert (res.checkpoint().offset, res.checkpoint().skip) == (first.next_offset, 0)
        second = handle.append(2)
        assert res.offset == first.next_offset
        assert next(items) == 2
        assert res.offset == second.next_offset


def test_a_read_from_now_goes_on_after_what_was_there(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    with face.stream(url, offset="now", live=False) as res:
        assert res.read_json() == []
        checkpoint = res.checkpoint()
    assert checkpoint.offset == handle.head().offset
    handle.append(2)
    with face.stream(url, checkpoint=checkpoint, live=False) as res:
        assert res.read_json() == [2]


# Forms


def test_the_json_form_is_the_one_of_every_language() -> None:
    assert Checkpoint("12", 3, "abc").to_json() == '{"from":"12","skip":3,"incarnation":"abc"}'
    assert Checkpoint().to_json() == '{"from":"-1","skip":0}'
    assert str(Checkpoint("é")) == Checkpoint("é").to_json()
    assert Checkpoint.from_json('{"from":"12"}') == Checkpoint("12", 0, None)


@pytest.mark.parametrize("text", ["", "12", "[]", "{}", "null", '{"skip":1}', '{"from":"1","skip":"x"}', b"\xff"])
def test_what_is_not_a_checkpoint_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        Checkpoint.from_json(text)


def test_checkpoints_are_values() -> None:
    assert Checkpoint("1", 2) == Checkpoint("1", 2) != Checkpoint("1", 3)
    assert len({Checkpoint("1", 2), Checkpoint("1", 2)}) == 1


# Stores


class Memory:
    """Keeps what was saved, and all that was."""

    def __init__(self) -> None:
        self.saved: list[Checkpoint] = []

    def load(self) -> Checkpoint | None:
        return self.saved[-1] if self.saved else None

    def save(self, checkpoint: Checkpoint) -> None:
        self.saved.append(checkpoint)


def test_a_store_makes_reads_go_on_where_the_last_ended(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1, 2])
    store = Memory()
    with face.stream(url, live=False, store=store) as res:
        assert list(res.iter_json()) == [1, 2]
    handle.append(3)
    with face.stream(url, live=False, store=store) as res:
        assert list(res.iter_json()) == [3]
    with face.stream(url, live=False, store=store) as res:
        assert list(res.iter_json()) == []
    assert [c.offset for c in store.saved] == sorted({c.offset for c in store.saved})


def test_a_block_that_fails_saves_only_what_was_done_before(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    store = Memory()
    with pytest.raises(LookupError), face.stream(url, live="long-poll", store=store) as res:
        items = res.iter_json()
        for n in range(3):
            handle.append(n)
            assert next(items) == n
        raise LookupError("while 2 is worked on")
    with face.stream(url, live=False, store=store) as res:
        assert list(res.iter_json()) == [2]


def test_a_block_that_ends_saves_where_it_was(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body=[1, 2, 3])
    store = Memory()
    with face.stream(url, store=store) as res:
        items = res.iter_json()
        assert [next(items), next(items)] == [1, 2]
    assert store.saved[-1].skip == 2
    with face.stream(url, live=False, store=store) as res:
        assert list(res.iter_json()) == [3]


def test_commit_saves_at_once_and_once(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body=[1, 2, 3])
    store = Memory()
    with face.stream(url, live=False, store=store) as res:
        items = res.iter_json()
        next(items)
        res.commit()
        res.commit()
        assert [c.skip for c in store.saved] == [1]


def test_read_all_saves_nothing_unless_it_succeeds(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body=[1, 2, 3])
    store = Memory()
    with pytest.raises(ZeroDivisionError):
        face.stream(url, live=False, store=store).read_json(lambda item: 1 // (item - 2))
    assert store.saved == []
    assert face.stream(url, live=False, store=store).read_json() == [1, 2, 3]
    assert len(store.saved) == 1


def test_file_store(face: Face, url: str, tmp_path: Path) -> None:
    handle = face.create(url, content_type=JSON, body=[1, 2])
    store = FileCheckpoints(tmp_path / "orders.json", "orders")
    assert store.load() is None
    with face.stream(url, live=False, store=store) as res:
        assert next(res.iter_json()) == 1
    again = FileCheckpoints(str(tmp_path / "orders.json"), "orders")
    assert again.load() == store.load() == res.checkpoint()
    handle.append(3)
    with face.stream(url, live=False, store=again) as res:
        assert list(res.iter_json()) == [2, 3]
    with pytest.raises(OSError, match="orders"):
        FileCheckpoints(tmp_path / "orders.json", "other").load()


def test_a_damaged_file_is_an_error_and_not_a_start_from_scratch(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises((OSError, ValueError)):
        FileCheckpoints(tmp_path / "c.json", "s").load()


def test_callback_store(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body=[1, 2])
    kept: dict[str, str] = {}
    store = CallbackCheckpoints(
        lambda: Checkpoint.from_json(kept["orders"]) if "orders" in kept else None,
        lambda checkpoint: kept.update(orders=str(checkpoint)),
    )
    with face.stream(url, live=False, store=store) as res:
        assert next(res.iter_json()) == 1
    with face.stream(url, live=False, store=store) as res:
        assert list(res.iter_json()) == [2]


def test_a_store_that_cannot_save_stops_the_read(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body=[1])

    def failing(checkpoint: Checkpoint) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        with face.stream(url, live=False, store=CallbackCheckpoints(lambda: None, failing)) as res:
            list(res.iter_json())


async def test_an_async_save_is_awaited(url: str) -> None:
    class Store:
        saved: Checkpoint | None = None

        def load(self) -> Checkpoint | None:
            return self.saved

        async def save(self, checkpoint: Checkpoint) -> None:
            self.saved = checkpoint

    from everstream import AsyncDurableStream

    await AsyncDurableStream.create(url, content_type=JSON, body=[1, 2])
    store: Any = Store()
    async with astream(url, live=False, store=store) as res:
        async for item in res.iter_json():
            assert item == 1
            break
    async with astream(url, live=False, store=store) as res:
        assert await res.read_json() == [2]


def test_a_checkpoint_of_one_face_is_good_for_the_other(url: str) -> None:
    import asyncio

    from everstream import DurableStream

    DurableStream.create(url, content_type=JSON, body=[1, 2, 3])
    with stream(url, live=False) as res:
        assert next(res.iter_json()) == 1

    async def rest() -> list[Any]:
        async with astream(url, live=False, checkpoint=res.checkpoint()) as ares:
            return await ares.read_json()

    assert asyncio.run(rest()) == [2, 3]
