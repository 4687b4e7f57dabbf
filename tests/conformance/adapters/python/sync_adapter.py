"""The operations of the conformance protocol over the blocking API."""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any

from everstream import Client, Delivery, DurableStream, DurableStreamError, Producer, stream
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
from sync_hooks import Hooks


class Adapter:
    """One method for each command."""

    def __init__(self) -> None:
        self.client = Client(timeout=LIMITS)
        self.session: Session[Producer] = Session("")
        self.hooks = Hooks(self.client, lambda: self.session)
        self.commands: dict[str, Callable[[Command], Result]] = {
            "append": self.append,
            "appends": self.appends,
            "benchmark": self.benchmark,
            "clear-dynamic": lambda command: self.session.clear_dynamic(command),
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
            "set-dynamic-header": lambda command: self.session.set_dynamic(command),
            "set-dynamic-param": lambda command: self.session.set_dynamic(command),
            "shutdown": self.shutdown,
            "validate": self.validate,
            **self.hooks.commands,
        }

    def answer(self, command: Command) -> Result:
        try:
            if command["type"] not in self.commands:
                raise NotSupported(f"unknown command: {command['type']}")
            return self.commands[command["type"]](command)
        except Exception as error:
            return failure(command, error)

    def init(self, command: Command) -> Result:
        self.release_producers()
        self.hooks.close()
        self.session = Session(command["serverUrl"])
        return initialized(command, "sync")

    def shutdown(self, command: Command) -> Result:
        self.release_producers()
        self.hooks.close()
        return success(command)

    def release_producers(self) -> None:
        for producer in self.session.producers.values():
            with suppress(DurableStreamError):
                producer.detach()
        self.session.producers.clear()

    def handle(self, command: Command, **options: Any) -> DurableStream:
        options.setdefault("headers", command.get("headers"))
        options.setdefault("content_type", self.session.content_types.get(command["path"]))
        return DurableStream(self.session.url(command), client=self.client, **options)

    def create(self, command: Command) -> Result:
        handle = self.handle(command, content_type=command.get("contentType", "application/octet-stream"))
        result = handle.create_stream(
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

    def connect(self, command: Command) -> Result:
        handle = DurableStream.connect(self.session.url(command), headers=command.get("headers"), client=self.client)
        self.session.content_types[command["path"]] = handle.content_type or ""
        return success(command, status=200, offset=handle.head().offset)

    def append(self, command: Command) -> Result:
        sent = self.session.sent(command)
        seq = command.get("seq")
        idempotent = seq is None and not command.get("plain", False)
        # Some cases lose the answer to an append and want it stored once all the same; `seq` excludes that.
        handle = self.handle(command, headers=sent.headers, params=sent.params, idempotent=idempotent, **retry_for(command))
        result = handle.append(append_data(command), seq=None if seq is None else str(seq))
        return success(
            command, status=200, offset=result.offset, duplicate=result.duplicate or None, **sent.report()
        )

    def appends(self, command: Command) -> Result:
        handle = self.handle(command)
        results: list[Result] = []
        for item in command["items"]:
            try:
                results.append({"ok": True, "offset": handle.append(item).offset})
            except DurableStreamError as error:
                results.append(described(error))
        return success(command, results=results)

    def close(self, command: Command) -> Result:
        result = self.handle(command).close_stream(data=command.get("data"), content_type=command.get("contentType"))
        return success(command, finalOffset=result.final_offset)

    def head(self, command: Command) -> Result:
        head = self.handle(command).head()
        self.session.content_types[command["path"]] = head.content_type or ""
        return success(command, **head_values(head))

    def delete(self, command: Command) -> Result:
        self.handle(command).delete()
        self.session.content_types.pop(command["path"], None)
        return success(command, status=200)

    def read(self, command: Command) -> Result:
        sent = self.session.sent(command)
        live = command.get("live", False)
        arguments = read_arguments(command)
        with stream(
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
                items: Data = list(islice(response.iter_json(), command["maxItems"]))
                return read_result(command, response, sent, [chunk(items, response.offset)])
            if live is False:
                as_json = reads_json(command, response.content_type)
                data: Data = response.read_json() if as_json else response.read_bytes()
                result = read_result(command, response, sent, [chunk(data, response.offset)] if data else [])
                return result | on_error_calls(arguments)
            reading = Reading(command)
            timer = threading.Timer(reading.seconds, response.close)
            timer.start()
            try:
                for event in response.iter_events("json" if reads_json(command, response.content_type) else "bytes"):
                    if reading.is_over(event):
                        break
                return read_result(command, response, sent, reading.chunks, reading.timed_out) | on_error_calls(arguments)
            finally:
                timer.cancel()
                timer.join()

    def producer(self, command: Command) -> Producer:
        """The producer that stays for a path, id and epoch."""
        key = producer_key(command)
        if key not in self.session.producers:
            options = producer_options(command)
            self.session.producers[key] = self.handle(command).producer(command["producerId"], **options)
        return self.session.producers[key]

    def idempotent_append(self, command: Command) -> Result:
        producer = self.producer(command)
        delivery = producer.append(command["data"])
        producer.flush()
        receipt = delivery.result(0)
        return success(
            command, status=200, offset=receipt.offset, duplicate=receipt.duplicate, producerSeq=producer.next_seq - 1
        )

    def idempotent_append_batch(self, command: Command) -> Result:
        with self.handle(command).producer(command["producerId"], **batch_options(command)) as producer:
            for item in batch_items(command):
                producer.append(item)
            producer.flush()
        return success(command, status=200)

    def idempotent_close(self, command: Command) -> Result:
        receipt = self.producer(command).close_stream(command.get("data"))
        return success(command, status=200, finalOffset=receipt.offset)

    def idempotent_detach(self, command: Command) -> Result:
        producer = self.session.producers.pop(producer_key(command), None)
        if producer is not None:
            producer.detach()
        return success(command, status=200)

    def run_producer(self, command: Command) -> Result:
        handle = self.handle(command, **retry_for(command))
        producer = handle.producer(command.get("producerId", "producer"), **run_options(command))
        outcomes: list[Result] = []
        deliveries: list[Delivery] = []
        for action in command["actions"]:
            try:
                outcomes.append(self.act(producer, action, deliveries))
            except DurableStreamError as error:
                outcomes.append(described(error))
        # What was not stored is told message by message.
        with suppress(DurableStreamError):
            producer.detach()
        return success(
            command,
            outcomes=outcomes,
            deliveries=[self.settled(delivery) for delivery in deliveries],
            epoch=producer.epoch,
            nextSeq=producer.next_seq,
        )

    def act(self, producer: Producer, action: Command, deliveries: list[Delivery]) -> Result:
        if action["do"] == "append":
            delivery = producer.append(append_data(action))
            deliveries.append(delivery)
            return self.settled(delivery) if action.get("wait") else {"ok": True}
        if action["do"] == "close":
            return receipt(producer.close_stream(message(action)))
        if action["do"] == "flush":
            flushed = producer.flush()
            return {"ok": True, "messages": flushed.messages, "duplicates": flushed.duplicates}
        if action["do"] == "restart":
            producer.restart()
        elif action["do"] == "detach":
            producer.detach()
        else:
            raise NotSupported(f"unknown action: {action['do']}")
        return {"ok": True}

    def settled(self, delivery: Delivery) -> Result:
        try:
            return receipt(delivery.result(DELIVERY_TIMEOUT))
        except DurableStreamError as error:
            return described(error)

    def validate(self, command: Command) -> Result:
        target = command["target"]
        url = self.session.server_url + "/validate"
        if target["target"] == "retry-options":
            DurableStream(url, client=self.client, retry=retry_of(target))
        elif target["target"] == "idempotent-producer":
            handle = DurableStream(url, client=self.client, content_type="text/plain")
            handle.producer(target.get("producerId", "validate"), **validated_producer_options(target)).close()
        else:
            raise NotSupported(f"nothing to validate: {target['target']}")
        return success(command)

    def benchmark(self, command: Command) -> Result:
        operation = command["operation"]
        benchmarks: dict[str, Callable[[Command, Command], Result]] = {
            "append": self.measure_append,
            "create": self.measure_create,
            "read": self.measure_read,
            "roundtrip": self.measure_roundtrip,
            "throughput_append": self.measure_throughput_append,
            "throughput_read": self.measure_throughput_read,
        }
        if operation["op"] not in benchmarks:
            raise NotSupported(f"unknown benchmark: {operation['op']}")
        return benchmarks[operation["op"]](command, operation)

    def measure_append(self, command: Command, operation: Command) -> Result:
        handle, data = self.handle(operation), b"*" * operation["size"]
        start = time.perf_counter_ns()
        handle.append(data)
        return measured(command, time.perf_counter_ns() - start, len(data))

    def measure_create(self, command: Command, operation: Command) -> Result:
        handle = self.handle(operation, content_type=operation.get("contentType", "application/octet-stream"))
        start = time.perf_counter_ns()
        handle.create_stream()
        return measured(command, time.perf_counter_ns() - start)

    def measure_read(self, command: Command, operation: Command) -> Result:
        start = time.perf_counter_ns()
        with self.handle(operation).stream(offset=operation.get("offset"), live=False) as response:
            data = response.read_bytes()
        return measured(command, time.perf_counter_ns() - start, len(data))

    def measure_roundtrip(self, command: Command, operation: Command) -> Result:
        handle = self.handle(operation, content_type=operation.get("contentType", "application/octet-stream"))
        # A JSON stream takes JSON: a string of the size asked for.
        text = "*" * operation["size"] if not is_json(handle.content_type) else f'"{"*" * (operation["size"] - 2)}"'
        start = time.perf_counter_ns()
        created = handle.create_stream()
        with handle.stream(offset=created.offset, live=operation.get("live", "long-poll")) as response:
            handle.append(text)
            received = next(iter(response))
        return measured(command, time.perf_counter_ns() - start, len(text) + len(received))

    def measure_throughput_append(self, command: Command, operation: Command) -> Result:
        handle = self.handle(operation, content_type="application/octet-stream")
        data, count = b"*" * operation["size"], operation["count"]
        start = time.perf_counter_ns()
        handle.create_stream()
        # Runs share the stream: an id of its own keeps one from being taken for a repeat of the one before.
        with handle.producer(f"benchmark-{uuid.uuid4()}", delivery_timeout=50.0) as producer:
            for _ in range(count):
                producer.append(data)
        return measured(command, time.perf_counter_ns() - start, len(data) * count, count)

    def measure_throughput_read(self, command: Command, operation: Command) -> Result:
        start = time.perf_counter_ns()
        with self.handle(operation).stream(live=False) as response:
            items = response.read_json()
        nanoseconds = time.perf_counter_ns() - start
        size = sum(len(json.dumps(item, separators=(",", ":"))) for item in items)
        return measured(command, nanoseconds, size, len(items))


def main() -> None:
    """Answers commands until `shutdown`, or until the runner is gone."""
    adapter = Adapter()
    for line in sys.stdin.buffer:
        if line.isspace():
            continue
        try:
            command = parse(line)
        except ValueError as error:
            print(encode(unparsable(error)), flush=True)
            continue
        print(encode(adapter.answer(command)), flush=True)
        if command["type"] == "shutdown":
            break
