"""Workers that share what is new in many streams: `python worker.py NAME`. Needs a server: `everstream serve`.

Start as many as you like, each under a name of its own. When a stream below `jobs/` has something new, one of them is
woken, and the server remembers how far each stream is done. Kill one in the middle of its work: another one takes over.

In another terminal: `everstream create jobs/tea --json`, then `everstream write jobs/tea '{"cups": 2}'`.
"""

import json
import os
import sys

from everstream import DurableStream, Lease, LeaseLostError, Subscriptions

SERVER = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")
LEASE = float(os.environ.get("LEASE", "30"))


def work(name: str) -> None:
    # All of this may be there already: the first worker makes it, the others confirm it.
    DurableStream.create(f"{SERVER}/wakes", content_type="application/json")
    subscriptions = Subscriptions(SERVER)
    subscriptions.create("workers", pattern="jobs/**", wake_stream="wakes", lease=LEASE)
    print("ready", flush=True)

    with subscriptions.worker("workers", name) as worker:
        for lease in worker:
            try:
                process(lease)
            except LeaseLostError:
                print("another worker has taken over", file=sys.stderr)


def process(lease: Lease) -> None:
    """Heartbeats keep the lease meanwhile. An exception gives back what is not acked."""
    with lease:
        for stream in lease.pending:
            with lease.read(stream) as response:
                for job in response.iter_json():
                    print(f"{stream.path}: {json.dumps(job)}", flush=True)
            lease.ack({stream.path: response.offset})


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name]:
            try:
                work(name)
            except KeyboardInterrupt:
                sys.exit(130)
        case _:
            sys.exit(__doc__)
