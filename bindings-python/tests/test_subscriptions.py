"""The control API of subscriptions, and webhooks that are verified, against a real server and real deliveries."""

from __future__ import annotations

import json
import pickle
import urllib.request
from typing import Any

import pytest

from everstream import (
    BadRequestError,
    InvalidArgumentError,
    InvalidSignatureError,
    LeaseLostError,
    StreamExistsError,
    StreamNotFoundError,
    Subscriptions,
)
from faces import Face
from receiver import Receiver
from scripted import Answer
from subscribing import acked, fill
from support import until

# The control API.


def test_a_subscription_is_created_shown_and_removed(subscriptions: Any, root: str, name: str) -> None:
    made = subscriptions.create(name, streams=[f"{name}/a"], webhook="https://example.com/", lease=1.5, description="d")
    assert (made.created, made.type, made.webhook, made.wake_stream) == (True, "webhook", "https://example.com/", None)
    assert (made.lease, made.status, made.description, made.pattern) == (1.5, "active", "d", None)
    assert [(stream.path, stream.link_type) for stream in made.streams] == [(f"{name}/a", "explicit")]
    again = subscriptions.create(name, streams=[f"{name}/a"], webhook="https://example.com/", lease=1.5, description="d")
    assert again.created is False
    with pytest.raises(StreamExistsError):
        subscriptions.create(name, streams=[f"{name}/b"], webhook="https://example.com/")
    subscriptions.add_streams(name, [f"{name}/b", f"{name}/c"])
    subscriptions.remove_stream(name, f"{name}/a")
    assert sorted(acked(subscriptions, name)) == [f"{name}/b", f"{name}/c"]
    assert name in [it.id for it in subscriptions.list()]
    assert subscriptions.get(name).created is None
    subscriptions.delete(name)
    subscriptions.delete(name)
    with pytest.raises(StreamNotFoundError):
        subscriptions.get(name)


@pytest.mark.parametrize(
    "options",
    [
        {"wake_stream": "wakes"},
        {"pattern": "a/*"},
        {"pattern": "a/*", "wake_stream": "wakes", "webhook": "https://example.com/"},
        {"pattern": "a/*", "wake_stream": "wakes", "lease": 0},
        {"pattern": "a/*", "wake_stream": "wakes", "lease": 601},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_it_is_sent(subscriptions: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        subscriptions.create("never", **options)
    assert caught.value.status is None


def test_one_path_is_not_taken_for_many(subscriptions: Any) -> None:
    with pytest.raises(TypeError, match="several paths"):
        subscriptions.create("never", streams="abc", wake_stream="wakes")


def test_a_webhook_has_no_workers(subscriptions: Any, name: str) -> None:
    subscriptions.create(name, pattern=f"{name}/*", webhook="https://example.com/")
    with pytest.raises(InvalidArgumentError, match="webhook"):
        subscriptions.worker(name, "one")
    with pytest.raises(BadRequestError):
        subscriptions.claim(name, "one")
    with pytest.raises(StreamNotFoundError):
        subscriptions.worker("not-there", "one")


def test_the_control_api_of_the_server_is_what_is_asked(root: str, name: str) -> None:
    """What the client shows is what the server says."""
    subscriptions = Subscriptions(root + "/")
    subscriptions.create(name, pattern=f"{name}/*", webhook="https://example.com/")
    with urllib.request.urlopen(f"{root}/__ds/subscriptions/{name}") as answer:
        told = json.load(answer)
    shown = subscriptions.get(name)
    assert (told["created_at"], told["lease_ttl_ms"]) == (shown.created_at, shown.lease * 1000)
    assert repr(subscriptions) == f"Subscriptions({root + '/'!r})"


# Webhooks.


def delivered(subscriptions: Any, root: str, name: str, receiver: Receiver, *messages: Any) -> tuple[str, bytes]:
    subscriptions.create(name, pattern=f"{name}/*", webhook=receiver.url)
    fill(root, f"{name}/a", *messages)
    return receiver.next()


def test_c_hook_1_what_the_server_signed_is_taken_and_nothing_else(subscriptions: Any, root: str, name: str) -> None:
    with Receiver() as receiver:
        signature, body = delivered(subscriptions, root, name, receiver, 1)
        verifier = subscriptions.webhook_verifier(name)
        wake = verifier.verify(signature, body)
        assert (wake.subscription_id, wake.generation) == (name, 1)
        (stream,) = wake.pending
        assert (stream.path, stream.link_type, stream.acked_offset) == (f"{name}/a", "glob", "-1")
        assert wake.callback_token == json.loads(body)["callback_token"]
        assert wake.callback_token not in repr(wake)
        assert wake.body == body.decode()
        assert pickle.loads(pickle.dumps(wake)) == wake
        other_time = signature.replace("t=", "t=1", 1)
        for bad_signature, bad_body in [
            (signature, body + b" "),
            (signature, body.replace(b'"generation":1', b'"generation":2')),
            (other_time, body),
            (signature.replace("kid=", "kid=x", 1), body),
            (None, body),
            ("", body),
        ]:
            with pytest.raises(InvalidSignatureError):
                verifier.verify(bad_signature, bad_body)
        with pytest.raises(InvalidSignatureError, match=name):
            subscriptions.webhook_verifier("another").verify(signature, body)
        # Any age is more than none.
        with pytest.raises(InvalidSignatureError, match="too old"):
            subscriptions.webhook_verifier(tolerance=0).verify(signature, body)


def test_c_hook_1_a_new_key_is_fetched(face: Face, proxy: Any, root: str, name: str) -> None:
    front = proxy()
    subscriptions = face.client().subscriptions(front.through(root))
    direct = face.client().subscriptions(root)
    with Receiver() as receiver:
        signature, body = delivered(direct, root, name, receiver, 1)
        verifier = subscriptions.webhook_verifier()
        before = verifier.verify(signature, body)
        verifier.verify(signature, body)
        assert front.count("GET") == 1
        kid = direct.rotate_key()
        fill(root, f"{name}/a", 2)
        signature, body = receiver.next()
        assert f"kid={kid}," in signature
        assert verifier.verify(signature, body).generation > before.generation
        assert front.count("GET") == 2


def test_keys_that_cannot_be_fetched_are_no_bad_signature(face: Face, proxy: Any, root: str, name: str) -> None:
    front = proxy(lambda request: Answer(404))
    direct = face.client().subscriptions(root)
    with Receiver() as receiver:
        signature, body = delivered(direct, root, name, receiver, 1)
        with pytest.raises(StreamNotFoundError):
            face.client().subscriptions(front.through(root)).webhook_verifier().verify(signature, body)


def test_c_hook_2_the_work_of_a_webhook_goes_on_after_its_answer(subscriptions: Any, root: str, name: str) -> None:
    with Receiver(202, b"") as receiver:
        signature, body = delivered(subscriptions, root, name, receiver, "a", "b")
        wake = subscriptions.webhook_verifier(name).verify(signature, body)
        # As a queue would carry it.
        lease = subscriptions.work_of(wake.body, 30)
        assert (lease.wake_id, lease.generation) == (wake.wake_id, wake.generation)
        (stream,) = lease.pending
        with lease.read(stream) as response:
            assert response.read_json()[:1] == ["a"]
        lease.ack({stream.path: response.offset})
        assert acked(subscriptions, name) == {stream.path: response.offset}
        lease.finish()
        assert lease.is_over


def test_c_hook_4_whose_lease_is_over_is_told(subscriptions: Any, root: str, name: str) -> None:
    with Receiver(202, b"") as receiver:
        signature, body = delivered(subscriptions, root, name, receiver, 1)
        wake = subscriptions.webhook_verifier().verify(signature, body)
        first, second = subscriptions.work_of(wake), subscriptions.work_of(wake, 0.3)
        (stream,) = wake.pending
        with first.read(stream) as response:
            response.read_json()
        assert first.finish({stream.path: response.offset}) is False
        # Heartbeats are told, unasked.
        until(lambda: second.is_lost, "the second lease is lost")
        for call in (lambda: second.ack({stream.path: response.offset}), second.finish):
            with pytest.raises(LeaseLostError) as caught:
                call()
            assert (caught.value.code, caught.value.status) == ("FENCED", 409)
        # What is lost can be given back without an error, and nobody waits for it.
        second.release()
