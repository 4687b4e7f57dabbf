"""A worker that is killed again and again, and processes every order once. Needs a server: `everstream serve`.

    python resume_after_kill.py                 shows it: starts workers, kills them, counts
    python resume_after_kill.py URL FOLDER      one worker: processes the orders of a stream into FOLDER
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from everstream import DurableStream, FileCheckpoints, stream

SERVER = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")


def work(url: str, folder: Path) -> None:
    """Processes orders: writes each into the ledger."""
    ledger = folder / "ledger"
    store = FileCheckpoints(folder / "checkpoint", url)
    done = lines(ledger)
    with stream(url, store=store) as response, ledger.open("a") as out:
        for order in response.iter_json():
            # Killed after it was processed and before that was noted, an order comes once more. What it did tells.
            if order["order"] > done:
                out.write(f"order {order['order']}\n")
                out.flush()
            response.commit()


def show(orders: int = 500) -> None:
    """Kills the worker every hundred orders."""
    incoming = DurableStream.create(f"{SERVER}/orders-{uuid4()}", content_type="application/json")
    with incoming.producer("shop-1") as producer:
        for number in range(1, orders + 1):
            producer.append({"order": number})
        producer.close_stream()

    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder, "ledger")
        kill_at = 100
        while True:
            worker = subprocess.Popen([sys.executable, __file__, incoming.url, folder])
            while worker.poll() is None and lines(ledger) < kill_at:
                time.sleep(0.001)
            worker.kill()
            if worker.wait() == 0:
                break
            print(f"killed after {lines(ledger)} orders")
            kill_at = lines(ledger) + 100
        processed = ledger.read_text().splitlines()

    assert processed == [f"order {number}" for number in range(1, orders + 1)]
    print(f"{len(processed)} orders, each processed once and in order")


def lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work(sys.argv[1], Path(sys.argv[2]))
    else:
        show()
