"""Webhooks, workers and leases over the blocking API; beyond the official protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice

from everstream import Client, Lease, Producer, Subscriptions
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

    def __init__(self, client: Client, session: Callable[[], Session[Producer]]) -> None:
        self._client = client
        self._session = session
        self.commands: dict[str, Callable[[Command], Result]] = {
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

    def close(self) -> None:
        """Ends what a session leaves behind."""
        worker = self._session().hooks.pop("worker", None)
        if worker is not None:
            worker.close()
        self._session().hooks.clear()

    def subscriptions(self) -> Subscriptions:
        return self._client.subscriptions(self._session().stream_root)

    def subscribe(self, command: Command) -> Result:
        return subscribed(command, self.subscriptions().create(command["id"], **subscription_options(command)))

    def verify(self, command: Command) -> Result:
        hooks, key = self._session().hooks, verifier_options(command)
        if key not in hooks:
            hooks[key] = self.subscriptions().webhook_verifier(key[0], tolerance=key[1])
        return verified(command, hooks[key].verify(command.get("signature"), command["body"].encode()))

    def work_of(self, command: Command) -> Result:
        return self._given(command, self.subscriptions().work_of(command["body"], command["leaseMs"] / 1000))

    def worker(self, command: Command) -> Result:
        self.close()
        self._session().hooks["worker"] = self.subscriptions().worker(command["id"], command["name"])
        return success(command)

    def next_lease(self, command: Command) -> Result:
        worker = self._session().hooks["worker"]
        # Closing it is how another thread ends a wait.
        timer = threading.Timer(command.get("timeoutMs", 5000) / 1000, worker.close)
        timer.start()
        try:
            lease = worker.next()
        finally:
            timer.cancel()
        if lease is None:
            raise late("there was no work in time")
        return self._given(command, lease)

    def _given(self, command: Command, lease: Lease) -> Result:
        self._session().hooks["lease"] = lease
        return given(command, lease)

    @property
    def lease(self) -> Lease:
        lease: Lease = self._session().hooks["lease"]
        return lease

    def read(self, command: Command) -> Result:
        with self.lease.read(command["stream"]) as response:
            messages = list(islice(response.iter_json(), command.get("maxItems")))
            return success(command, messages=messages, offset=response.offset)

    def ack(self, command: Command) -> Result:
        self.lease.ack(command["offsets"])
        return success(command)

    def finish(self, command: Command) -> Result:
        return success(command, nextWake=self.lease.finish(command.get("offsets")))

    def release(self, command: Command) -> Result:
        self.lease.release()
        return success(command)

    def hold(self, command: Command) -> Result:
        end = time.monotonic() + command["timeoutMs"] / 1000
        while not self.lease.is_lost and time.monotonic() < end:
            time.sleep(0.01)
        return success(command, lost=self.lease.is_lost)
