"""The future behind every awaited call. Imported at the first one: `import everstream` does not import asyncio."""

import asyncio
from collections.abc import Callable
from typing import Any


class Operation(asyncio.Future[Any]):
    """Cancelling it aborts the request at once."""

    abort: Callable[[], None]

    def cancel(self, msg: Any = None) -> bool:
        if not super().cancel(msg):
            return False
        self.abort()
        return True
