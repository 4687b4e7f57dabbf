"""Webhooks, workers and leases over the asyncio API; beyond the official protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from everstream import AsyncClient, AsyncLease, AsyncSubscriptions, IdempotentProducer
from protocol import (
    Command,
    Result,
    Session,
    given,
    late,
    subscribed,
    subscription_options,
    success,
    verified,
    verifier_options,
)


class Hooks:
    """One method for each command."""

    def __init__(self, client: AsyncClient, session: Callable[[], Session[IdempotentProducer]]) -> None:
        self._client = client
        self._session = session
        self.commands: dict[str, Callable[[Command], Awaitable[Result]]] = {
            "lease-ack": self.ack,
            "lease-finish": self.finish,
            "lease-hold": self.hold,
            "lease-read": self.read,
            "lease-release": self.release,
            "next-lease": self.next_lease,
            "subscribe": self.subscribe,
            "verify-webhook": self.verify,
            "work-of": self.work_of,
            "worker": self.worker,
        }

    async def close(self) -> None:
        """Ends what a session leaves behind."""
        worker = self._session().hooks.pop("worker", None)
        if worker is not None:
            await worker.aclose()
        self._session().hooks.clear()

    def subscriptions(self) -> AsyncSubscriptions:
        return self._client.subscriptions(self._session().stream_root)

    async def subscribe(self, command: Command) -> Result:
        return subscribed(command, await self.subscriptions().create(command["id"], **subscription_options(command)))

    async def verify(self, command: Command) -> Result:
        hooks, key = self._session().hooks, verifier_options(command)
        if key not in hooks:
            hooks[key] = self.subscriptions().webhook_verifier(key[0], tolerance=key[1])
        return verified(command, await hooks[key].verify(command.get("signature"), command["body"].encode()))

    async def work_of(self, command: Command) -> Result:
        return self._given(command, self.subscriptions().work_of(command["body"], command["leaseMs"] / 1000))

    async def worker(self, command: Command) -> Result:
        await self.close()
        self._session().hooks["worker"] = await self.subscriptions().worker(command["id"], command["name"])
        return success(command)

    async def next_lease(self, command: Command) -> Result:
        waiting = self._session().hooks["worker"].next()
        try:
            return self._given(command, await asyncio.wait_for(waiting, command.get("timeoutMs", 5000) / 1000))
        except asyncio.TimeoutError:
            raise late("there was no work in time") from None

    def _given(self, command: Command, lease: AsyncLease) -> Result:
        self._session().hooks["lease"] = lease
        return given(command, lease)

    @property
    def lease(self) -> AsyncLease:
        lease: AsyncLease = self._session().hooks["lease"]
        return lease

    async def read(self, command: Command) -> Result:
        messages: list[Any] = []
        async with self.lease.read(command["stream"]) as response:
            async for message in response.iter_json():
                messages.append(message)
                if len(messages) == command.get("maxItems"):
                    break
            return success(command, messages=messages, offset=response.offset)

    async def ack(self, command: Command) -> Result:
        await self.lease.ack(command["offsets"])
        return success(command)

    async def finish(self, command: Command) -> Result:
        return success(command, nextWake=await self.lease.finish(command.get("offsets")))

    async def release(self, command: Command) -> Result:
        await self.lease.release()
        return success(command)

    async def hold(self, command: Command) -> Result:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.lease.ended(), command["timeoutMs"] / 1000)
        return success(command, lost=self.lease.is_lost)
