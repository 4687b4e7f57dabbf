"""A chat whose answers survive page reloads and can be stopped. Needs a server: `everstream serve`.

    pip install everstream[ai] fastapi uvicorn openai
    OPENAI_API_KEY=... python fastapi_chat.py

Reload the page in the middle of an answer, or open it twice: every view goes on where it was.
"""

import os
from typing import Annotated
from uuid import UUID

import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from openai import AsyncOpenAI

from everstream import AsyncDurableStream
from everstream.ai import Generation, stream_response

SERVER = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")
MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")

app = FastAPI()
openai = AsyncOpenAI()


@app.post("/chats/{chat}", status_code=201)
async def ask(chat: UUID, question: Annotated[str, Body(embed=True)]) -> None:
    stream = await AsyncDurableStream.create(f"{SERVER}/chat-{chat}", content_type="text/plain", ttl_seconds=3600)
    if not stream.created:
        raise HTTPException(409, "This question was asked before.")
    # Goes on by itself when this request is over.
    Generation(openai.responses.create(model=MODEL, input=question, stream=True), stream)


@app.get("/chats/{chat}")
async def follow(chat: UUID, request: Request) -> Response:
    return await stream_response(f"{SERVER}/chat-{chat}", request)


@app.delete("/chats/{chat}", status_code=204)
async def stop(chat: UUID) -> None:
    await AsyncDurableStream(f"{SERVER}/chat-{chat}").close_stream()


@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse("""<!doctype html><meta charset="utf-8"><title>Chat</title>
<form id="form">
  <input id="question" autofocus> <button>Ask</button> <button type="button" id="stop">Stop</button>
</form>
<pre id="answer" style="white-space: pre-wrap"></pre>
<script>
const [form, question, stop, answer] = ["form", "question", "stop", "answer"].map(id => document.getElementById(id))
const chat = () => "chats/" + location.hash.slice(1)
function follow() {
  answer.textContent = ""
  const source = new EventSource(chat())
  source.onmessage = event => { answer.textContent += JSON.parse(event.data) }
  source.addEventListener("close", () => source.close())
}
form.onsubmit = async event => {
  event.preventDefault()
  location.hash = crypto.randomUUID()
  const body = JSON.stringify({ question: question.value })
  await fetch(chat(), { method: "POST", headers: { "content-type": "application/json" }, body })
  follow()
}
stop.onclick = () => fetch(chat(), { method: "DELETE" })
if (location.hash) follow()
</script>""")


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=1)
