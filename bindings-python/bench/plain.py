"""What is sent, and plain HTTP to prepare streams and to look at them. Standard library only."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

JSON = {"content-type": "application/json"}


def message(number, time=0):
    """About 100 bytes as JSON, as page views are."""
    return {
        "i": number,
        "t": time,
        "user": f"user-{number % 100_000:06}",
        "action": "page_view",
        "path": f"/items/{number % 99_991:05}",
        "ok": True,
    }


def text(message):
    return json.dumps(message, separators=(",", ":"))


def batches(messages, max_bytes):
    """JSON arrays of the messages in their order, of at most this many bytes each."""
    done, batch, size = [], [], 1
    for message in map(text, messages):
        if batch and size + len(message) + 1 > max_bytes:
            done.append(f"[{','.join(batch)}]".encode())
            batch, size = [], 1
        batch.append(message)
        size += len(message) + 1
    return [*done, f"[{','.join(batch)}]".encode()]


class Connection:
    """Requests one after the other, to the server of this URL."""

    def __init__(self, url):
        self.http = HTTPConnection(urlsplit(url).netloc)

    def ask(self, method, url, body=None, headers=JSON):
        parts = urlsplit(url)
        self.http.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers)
        answer = self.http.getresponse()
        content = answer.read()
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {url}: {answer.status} {content[:200]}")
        return answer, content

    def create(self, url):
        answer, _ = self.ask("PUT", url)
        if answer.status != 201:
            raise RuntimeError(f"{url} is there already")

    def stored(self, url):
        """The messages of a stream, from its beginning to its end."""
        offset, messages = "-1", []
        while True:
            answer, content = self.ask("GET", f"{url}?offset={offset}", headers={})
            messages += json.loads(content)
            if answer.getheader("stream-up-to-date"):
                return messages
            offset = answer.getheader("stream-next-offset")
