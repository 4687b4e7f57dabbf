"""Writes events to streams in turn, at an even pace, each with the time when it is sent.

    writer.py EACH URL...

Begins when its input ends: connected, and EACH messages for each of the streams.
"""

import sys
import time

import plain

EVENTS_PER_SECOND = 500

each, urls = int(sys.argv[1]), sys.argv[2:]
server = plain.Connection(urls[0])
server.ask("HEAD", urls[0])
sys.stdin.read()
start = time.monotonic()
for sent in range(each * len(urls)):
    time.sleep(max(0, start + sent / EVENTS_PER_SECOND - time.monotonic()))
    message = plain.message(sent // len(urls) + 1, time.monotonic_ns())
    server.ask("POST", urls[sent % len(urls)], plain.text(message))
