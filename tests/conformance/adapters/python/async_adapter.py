"""The operations of the conformance protocol over the asyncio API."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from everstream import (
    AsyncClient,
    AsyncDurableStream,
    AsyncStreamResponse,
    BufferFullError,
    Delivery,
    DurableStreamError,
    IdempotentAppendResult,
    IdempotentProducer,
    astream,
)
from async_hooks import Hooks
from protocol import (
    DELIVERY_TIMEOUT,
    LIMITS,
    Command,
    Data,
    NotSupported,
    Reading,
    Result,
    Session,
    append_data,
    batch_items,
    batch_options,
    chunk,
    described,
    encode,
    failure,
    head_values,
    initialized,
    is_json,
    measured,
    message,
    on_error_calls,
    parse,
    producer_key,
    producer_options,
    read_arguments,
    read_result,
    reads_json,
    receipt,
    retry_for,
    retry_of,
    run_options,
    success,
    unparsable,
    validated_producer_options,
)


class Adapter:
    """One method for each command."""

    def __init__(self) -> None:
        self.client = AsyncClient(timeout=LIMITS)
        self.session: Session[IdempotentProducer] = Session("")
        self.hooks = Hooks(self.client, lambda: self.session)
        self.commands: dict[str, Callable[[Command], Awaitable[Result]]] = {
            "append": self.append,
            "appends": self.appends,
            "benchmark": self.benchmark,
            "clear-dynamic": self.clear_dynamic,
            "close": self.close,
            "connect": self.connect,
            "create": self.create,
            "delete": self.delete,
            "head": self.head,
            "idempotent-append": self.idempotent_append,
            "idempotent-append-batch": self.idempotent_append_batch,
            "idempotent-close": self.idempotent_close,
            "idempotent-detach": self.idempotent_detach,
            "init": self.init,
            "producer": self.run_producer,
            "read": self.read,
            "set-dynamic-header": self.set_dynamic,
            "set-dynamic-param": self.set_dynamic,
            "shutdown": self.shutdown,
            "validate": self.validate,
            **self.hooks.commands,
        }

    async def answer(self, command: Command) -> Result:
        try:
            if command["type"] not in self.commands:
                raise NotSupported(f"unknown command: {command['type']}")
            return await self.commands[command["type"]](command)
        except Exception as error:
            return failure(command, error)

    async def init(self, command: Command) -> Result:
        await self.release_producers()
        await self.hooks.close()
        self.session = Session(command["serverUrl"])
        return initialized(command, "async")

    async def shutdown(self, command: Command) -> Result:
        await self.release_producers()
        await self.hooks.close()
        return success(command)

    async def release_producers(self) -> None:
        for producer in self.session.producers.values():
            with suppress(DurableStreamError):
                await producer.detach()
        self.session.producers.clear()

    def handle(self, command: Command, **options: Any) -> AsyncDurableStream:
        options.setdefault("headers", command.get("headers"))
        options.setdefault("content_type", self.session.content_types.get(command["path"]))
        return AsyncDurableStream(self.session.url(command), client=self.client, **options)

    async def set_dynamic(self, command: Command) -> Result:
        return self.session.set_dynamic(command)

    async def clear_dynamic(self, command: Command) -> Result:
        return self.session.clear_dynamic(command)

    async def create(self, command: Command) -> Result:
        handle = self.handle(command, content_type=command.get("contentType", "application/octet-stream"))
        result = await handle.create_stream(
            ttl_seconds=command.get("ttlSeconds"),
            expires_at=command.get("expiresAt"),
            body=command.get("data"),
            closed=command.get("closed", False),
            fork_from=command.get("forkFrom"),
            fork_offset=command.get("forkOffset"),
            fork_sub_offset=command.get("forkSubOffset"),
        )
        self.session.content_types[command["path"]] = result.content_type or handle.content_type or ""
        return success(command, status=201 if result.created else 200, offset=result.offset)

    async def connect(self, command: Command) -> Result:
        url, headers = self.session.url(command), command.get("headers")
        handle = await AsyncDurableStream.connect(url, headers=headers, client=self.client)
        self.session.content_types[command["path"]] = handle.content_type or ""
        return success(command, status=200, offset=(await handle.head()).offset)

    async def append(self, command: Command) -> Result:
        sent = self.session.sent(command)
        seq = command.get("seq")
        idempotent = seq is None and not command.get("plain", False)
        # Some cases lose the answer to an append and want it stored once all the same; `seq` excludes that.
        handle = self.handle(command, headers=sent.headers, params=sent.params, idempotent=idempotent, **retry_for(command))
        result = await handle.append(append_data(command), seq=None if seq is None else str(seq))
        return success(
            command, status=200, offset=result.offset, duplicate=result.duplicate or None, **sent.report()
        )

    async def appends(self, command: Command) -> Result:
        handle = self.handle(command)
        # In the order of the items: a task starts when it is its turn.
        issued = [asyncio.ensure_future(handle.append(item)) for item in command["items"]]
        results: list[Result] = []
        for append in issued:
            try:
                results.append({"ok": True, "offset": (await append).offset})
            except DurableStreamError as error:
                results.append(described(error))
        return success(command, results=results)

    async def close(self, command: Command) -> Result:
        data, content_type = command.get("data"), command.get("contentType")
        result = await self.handle(command).close_stream(data=data, content_type=content_type)
        return success(command, finalOffset=result.final_offset)

    async def head(self, command: Command) -> Result:
        head = await self.handle(command).head()
        self.session.content_types[command["path"]] = head.content_type or ""
        return success(command, **head_values(head))

    async def delete(self, command: Command) -> Result:
        await self.handle(command).delete()
        self.session.content_types.pop(command["path"], None)
        return success(command, status=200)

    async def read(self, command: Command) -> Result:
        sent = self.session.sent(command)
        live = command.get("live", False)
        arguments = read_arguments(command)
        async with astream(
            self.session.url(command),
            offset=command.get("offset"),
            live=live,
            headers=sent.headers,
            params=sent.params,
            client=self.client,
            timeout=LIMITS,
            **arguments,
        ) as response:
            if "maxItems" in command:
                items: Data = []
                async for item in response.iter_json():
                    items.append(item)
                    if len(items) == command["maxItems"]:
                        break
                return read_result(command, response, sent, [chunk(items, response.offset)])
            if live is False:
                as_json = reads_json(command, response.content_type)
                data: Data = await response.read_json() if as_json else await response.read_bytes()
                result = read_result(command, response, sent, [chunk(data, response.offset)] if data else [])
                return result | on_error_calls(arguments)
            reading = Reading(command)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.follow(command, response, reading), reading.seconds)
            return read_result(command, response, sent, reading.chunks, reading.timed_out) | on_error_calls(arguments)

    async def follow(self, command: Command, response: AsyncStreamResponse[Any], reading: Reading) -> None:
        async for event in response.iter_events("json" if reads_json(command, response.content_type) else "bytes"):
            if reading.is_over(event):
                return

    def producer(self, command: Command) -> IdempotentProducer:
        """The producer that stays for a path, id and epoch."""
        key = producer_key(command)
        if key not in self.session.producers:
            options = producer_options(command)
            self.session.producers[key] = self.handle(command).producer(command["producerId"], **options)
        return self.session.producers[key]

    async def idempotent_append(self, command: Command) -> Result:
        producer = self.producer(command)
        delivery = producer.append(command["data"])
        await producer.flush()
        receipt = await delivery
        return success(
            command, status=200, offset=receipt.offset, duplicate=receipt.duplicate, producerSeq=producer.next_seq - 1
        )

    async def idempotent_append_batch(self, command: Command) -> Result:
        async with self.handle(command).producer(command["producerId"], **batch_options(command)) as producer:
            for item in batch_items(command):
                producer.append(item)
            await producer.flush()
        return success(command, status=200)

    async def idempotent_close(self, command: Command) -> Result:
        receipt = await self.producer(command).close_stream(command.get("data"))
        return success(command, status=200, finalOffset=receipt.offset)

    async def idempotent_detach(self, command: Command) -> Result:
        producer = self.session.producers.pop(producer_key(command), None)
        if producer is not None:
            await producer.detach()
        return success(command, status=200)

    async def run_producer(self, command: Command) -> Result:
        handle = self.handle(command, **retry_for(command))
        producer = handle.producer(command.get("producerId", "producer"), **run_options(command))
        outcomes: list[Result] = []
        deliveries: list[Delivery] = []
        for action in command["actions"]:
            try:
                outcomes.append(await self.act(producer, action, deliveries))
            except DurableStreamError as error:
                outcomes.append(described(error))
        # What was not stored is told message by message.
        with suppress(DurableStreamError):
            await producer.detach()
        return success(
            command,
            outcomes=outcomes,
            deliveries=[await self.settled(delivery) for delivery in deliveries],
            epoch=producer.epoch,
            nextSeq=producer.next_seq,
        )

    async def act(self, producer: IdempotentProducer, action: Command, deliveries: list[Delivery]) -> Result:
        if action["do"] == "append":
            delivery = await producer.send(append_data(action))
            deliveries.append(delivery)
            return await self.settled(delivery) if action.get("wait") else {"ok": True}
        if action["do"] == "close":
            return receipt(await producer.close_stream(message(action)))
        if action["do"] == "flush":
            flushed = await producer.flush()
            return {"ok": True, "messages": flushed.messages, "duplicates": flushed.duplicates}
        if action["do"] == "restart":
            await producer.restart()
        elif action["do"] == "detach":
            await producer.detach()
        else:
            raise NotSupported(f"unknown action: {action['do']}")
        return {"ok": True}

    async def settled(self, delivery: Delivery) -> Result:
        try:
            return receipt(await asyncio.wait_for(_awaited(delivery), DELIVERY_TIMEOUT))
        except DurableStreamError as error:
            return described(error)

    async def validate(self, command: Command) -> Result:
        target = command["target"]
        url = self.session.server_url + "/validate"
        if target["target"] == "retry-options":
            AsyncDurableStream(url, client=self.client, retry=retry_of(target))
        elif target["target"] == "idempotent-producer":
            handle = AsyncDurableStream(url, client=self.client, content_type="text/plain")
            await handle.producer(target.get("producerId", "validate"), **validated_producer_options(target)).close()
        else:
            raise NotSupported(f"nothing to validate: {target['target']}")
        return success(command)

    async def benchmark(self, command: Command) -> Result:
        operation = command["operation"]
        benchmarks: dict[str, Callable[[Command, Command], Awaitable[Result]]] = {
            "append": self.measure_append,
            "create": self.measure_create,
            "read": self.measure_read,
            "roundtrip": self.measure_roundtrip,
            "throughput_append": self.measure_throughput_append,
            "throughput_read": self.measure_throughput_read,
        }
        if operation["op"] not in benchmarks:
            raise NotSupported(f"unknown benchmark: {operation['op']}")
        return await benchmarks[operation["op"]](command, operation)

    async def measure_append(self, command: Command, operation: Command) -> Result:
        handle, data = self.handle(operation), b"*" * operation["size"]
        start = time.perf_counter_ns()
        await handle.append(data)
        return measured(command, time.perf_counter_ns() - start, len(data))

    async def measure_create(self, command: Command, operation: Command) -> Result:
        handle = self.handle(operation, content_type=operation.get("contentType", "application/octet-stream"))
        start = time.perf_counter_ns()
        await handle.create_stream()
        return measured(command, time.perf_counter_ns() - start)

    async def measure_read(self, command: Command, operation: Command) -> Result:
        start = time.perf_counter_ns()
        async with self.handle(operation).stream(offset=operation.get("offset"), live=False) as response:
            data = await response.read_bytes()
        return measured(command, time.perf_counter_ns() - start, len(data))

    async def measure_roundtrip(self, command: Command, operation: Command) -> Result:
        handle = self.handle(operation, content_type=operation.get("contentType", "application/octet-stream"))
        # A JSON stream takes JSON: a string of the size asked for.
        text = "*" * operation["size"] if not is_json(handle.content_type) else f'"{"*" * (operation["size"] - 2)}"'
        start = time.perf_counter_ns()
        created = await handle.create_stream()
        async with handle.stream(offset=created.offset, live=operation.get("live", "long-poll")) as response:
            await handle.append(text)
            received = await response.__aiter__().__anext__()
        return measured(command, time.perf_counter_ns() - start, len(text) + len(received))

    async def measure_throughput_append(self, command: Command, operation: Command) -> Result:
        handle = self.handle(operation, content_type="application/octet-stream")
        data, count = b"*" * operation["size"], operation["count"]
        start = time.perf_counter_ns()
        await handle.create_stream()
        # Runs share the stream: an id of its own keeps one from being taken for a repeat of the one before.
        async with handle.producer(f"benchmark-{uuid.uuid4()}", delivery_timeout=50.0) as producer:
            for _ in range(count):
                try:
                    producer.append(data)
                except BufferFullError:
                    await producer.send(data)
        return measured(command, time.perf_counter_ns() - start, len(data) * count, count)

    async def measure_throughput_read(self, command: Command, operation: Command) -> Result:
        start = time.perf_counter_ns()
        async with self.handle(operation).stream(live=False) as response:
            items = await response.read_json()
        nanoseconds = time.perf_counter_ns() - start
        size = sum(len(json.dumps(item, separators=(",", ":"))) for item in items)
        return measured(command, nanoseconds, size, len(items))


async def _awaited(delivery: Delivery) -> IdempotentAppendResult:
    return await delivery


async def serve() -> None:
    adapter = Adapter()
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        if line.isspace():
            continue
        try:
            command = parse(line)
        except ValueError as error:
            print(encode(unparsable(error)), flush=True)
            continue
        print(encode(await adapter.answer(command)), flush=True)
        if command["type"] == "shutdown":
            break


def main() -> None:
    """Answers commands until `shutdown`, or until the runner is gone."""
    asyncio.run(serve())
