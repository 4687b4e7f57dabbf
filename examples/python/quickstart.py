"""Write a stream, read it, and go on where you were. Needs a server: `everstream serve`."""

import os
from uuid import uuid4

from everstream import DurableStream, stream

SERVER = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")

orders = DurableStream.create(f"{SERVER}/orders-{uuid4()}", content_type="application/json")

# A producer sends in the background, in batches. Each message is stored once, however often it has to be sent.
with orders.producer("shop-1") as producer:
    for number in range(1, 6):
        producer.append({"order": number})

# `live=False` stops at the tail of the stream.
with stream(orders.url, live=False) as response:
    for order in response.iter_json():
        print("read", order)
        if order == {"order": 3}:
            break
    # Exact, also in the middle of what came over the network. Store it where you like.
    checkpoint = response.checkpoint()

# A read that is live waits for what comes, and ends when the stream is closed.
orders.close_stream()
with stream(orders.url, checkpoint=checkpoint) as response:
    for order in response.iter_json():
        print("went on with", order)

print("The stream is closed." if response.stream_closed else "There may be more.")
