"""Stores for checkpoints: a file, or functions of yours."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from . import _native
from .types import Checkpoint


class FileCheckpoints:
    """Keeps the checkpoint of one stream in a file, on disk before `save` returns and never half-written.

    The format is that of `everstream read --checkpoint`.

    Args:
        path: The file; it need not exist.
        stream: Name of the stream, so that a file is not used for another one by mistake.
    """

    def __init__(self, path: str | os.PathLike[str], stream: str) -> None:
        self.path = os.fspath(path)
        self.stream = stream

    def load(self) -> Checkpoint | None:
        """The checkpoint in the file; `None` when there is no file. `OSError` when it belongs to another stream."""
        stored = _native.checkpoint_file_load(self.path, self.stream)
        return None if stored is None else Checkpoint(*stored)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replaces the file."""
        _native.checkpoint_file_store(
            self.path, self.stream, checkpoint.offset, checkpoint.skip, checkpoint.incarnation
        )

    def __repr__(self) -> str:
        return f"FileCheckpoints({self.path!r}, {self.stream!r})"


class CallbackCheckpoints:
    """Keeps checkpoints with two functions, such as ones that use a database."""

    def __init__(self, load: Callable[[], Checkpoint | None], save: Callable[[Checkpoint], None]) -> None:
        self._load = load
        self._save = save

    def load(self) -> Checkpoint | None:
        """What the function gives."""
        return self._load()

    def save(self, checkpoint: Checkpoint) -> None:
        """Calls the function."""
        self._save(checkpoint)


class AsyncCallbackCheckpoints:
    """Keeps checkpoints with two coroutine functions, for asyncio."""

    def __init__(
        self, load: Callable[[], Awaitable[Checkpoint | None]], save: Callable[[Checkpoint], Awaitable[None]]
    ) -> None:
        self._load = load
        self._save = save

    async def load(self) -> Checkpoint | None:
        """What the function gives."""
        return await self._load()

    async def save(self, checkpoint: Checkpoint) -> None:
        """Awaits the function."""
        await self._save(checkpoint)
