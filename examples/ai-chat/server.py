"""A chat whose answers are streams. The page reads them from the stream server; this one asks the model, and writes.

server.mjs is the same in Node, for the same page.

    pip install ../../bindings-python fastapi uvicorn openai
    python server.py
"""

import asyncio
import os
import socket
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import uvicorn
from fastapi import Body, FastAPI
from fastapi.staticfiles import StaticFiles
from openai import AsyncOpenAI

from everstream import AsyncDurableStream, astream
from everstream.ai import Generation

STREAMS = os.environ.get("STREAMS_URL", "http://127.0.0.1:4437/v1/stream")
MODEL = os.environ.get("OPENAI_MODEL", "alice")
HERE = Path(__file__).parent

openai = AsyncOpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:4600/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)
app = FastAPI()
running: set[str] = set()
"""The answers that this process is writing."""
writers: set[asyncio.Task[None]] = set()
"""What waits for their ends; the event loop alone would not keep it alive."""


# A chat is a JSON stream: {question, answer} begins an answer, {answer, ended} says how it ended. The text of each
# answer is a stream of its own, which is closed when no more text comes.
def chat_url(chat: UUID) -> str:
    return f"{STREAMS}/chats/{chat}"


def answer_url(answer: object) -> str:
    return f"{STREAMS}/answers/{answer}"


async def opened(chat: UUID) -> tuple[AsyncDurableStream, list[dict[str, Any]]]:
    """Makes the chat if it is new, and gives what was said so far. An answer whose writer is gone is ended here."""
    handle = await AsyncDurableStream.create(chat_url(chat), content_type="application/json")
    async with astream(handle.url, live=False) as response:
        entries = await response.read_json()
    ended = {entry["answer"] for entry in entries if "ended" in entry}
    for entry in entries:
        answer = entry["answer"]
        if "question" in entry and answer not in ended and answer not in running:
            await AsyncDurableStream(answer_url(answer)).close_stream()
            await handle.append({"answer": answer, "ended": "interrupted"})
    return handle, entries


@app.put("/chats/{chat}")
async def open_chat(chat: UUID) -> dict[str, str]:
    await opened(chat)
    return {"chat": chat_url(chat), "answers": answer_url("")}


@app.post("/chats/{chat}/answers", status_code=201)
async def ask(chat: UUID, question: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    """Begins an answer. It goes on when the request is over, the page closed and the user asleep."""
    handle, entries = await opened(chat)
    messages: list[Any] = []
    for entry in entries:
        if "question" in entry:
            async with astream(answer_url(entry["answer"]), live=False) as response:
                text = await response.read_text()
            messages += [{"role": "user", "content": entry["question"]}, {"role": "assistant", "content": text}]
    messages.append({"role": "user", "content": question})

    answer = str(uuid4())
    text_stream = await AsyncDurableStream.create(answer_url(answer), content_type="text/plain")
    running.add(answer)
    await handle.append({"question": question, "answer": answer})
    tokens = openai.chat.completions.create(model=MODEL, messages=messages, stream=True)
    writer = asyncio.create_task(write(handle, answer, Generation(tokens, text_stream, linger_ms=10)))
    writers.add(writer)
    writer.add_done_callback(writers.discard)
    return {"answer": answer}


async def write(chat: AsyncDurableStream, answer: str, generation: Generation[Any]) -> None:
    """Waits for the end of an answer, and says how it ended."""
    try:
        await generation
        ended = "stopped" if generation.stopped else "complete"
    except Exception as error:
        print(f"chat {chat.url}: the model failed: {error}")
        ended = "failed"
    await chat.append({"answer": answer, "ended": ended})
    running.discard(answer)


@app.delete("/answers/{answer}", status_code=204)
async def stop(answer: UUID) -> None:
    """Readers see the end at once; the model is stopped when its next token cannot be stored."""
    await AsyncDurableStream(answer_url(answer)).close_stream()


app.mount("/everstream", StaticFiles(directory=HERE / "node_modules/everstream/dist", follow_symlink=True))
app.mount("/", StaticFiles(directory=HERE / "page", html=True))

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "4500"))))
    print(f"chat at http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listener])
