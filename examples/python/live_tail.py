"""Follow a stream: `python live_tail.py NAME [--new]`. Needs a server: `everstream serve`.

Prints everything in it, or with --new only what is new, and goes on live until the stream is closed or you press
Ctrl-C. Connections that break are made again; nothing is missed and nothing comes twice.

In another terminal: `everstream create NAME --json`, `everstream write NAME '{"hello": 1}'`, `everstream close NAME`.
"""

import json
import os
import sys

from everstream import StreamNotFoundError, stream

SERVER = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")


def tail(name: str, offset: str) -> None:
    with stream(f"{SERVER}/{name}", offset=offset) as response:
        if response.content_type == "application/json":
            for message in response.iter_json():
                print(json.dumps(message), flush=True)
        else:
            for text in response.iter_text():
                print(text, end="", flush=True)
    print("-- the stream is closed --")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, *options] if options in ([], ["--new"]):
            try:
                tail(name, "now" if options else "-1")
            except StreamNotFoundError as error:
                sys.exit(str(error))
            except KeyboardInterrupt:
                sys.exit(130)
        case _:
            sys.exit(__doc__)
