"""One reader of the demo. It prints each batch as it came, a JSON array in a line, and stops after enough messages or at
the end of the stream. Its checkpoint is in a file: the next reader goes on there."""

import json
import sys

from everstream import Client, FileCheckpoints, Retry, stream

url, path, live, enough = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
checkpoints = FileCheckpoints(path, url)
client = Client(trust_env=False, retry=Retry(initial_delay=0.005, max_delay=0.2))
messages = 0
with stream(url, live=live, checkpoint=checkpoints.load(), max_batch_bytes=4096, client=client) as response:
    for event in response.iter_events("bytes"):
        if event.data is not None:
            sys.stdout.buffer.write(event.data + b"\n")
            messages += len(json.loads(event.data))
        if messages >= enough:
            break
    checkpoints.save(response.checkpoint())
    if not response.stream_closed and messages < enough:
        sys.exit("the read ended before the stream")
