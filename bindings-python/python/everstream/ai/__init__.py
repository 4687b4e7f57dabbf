"""Answers of language models as streams: they outlive page reloads and dropped connections, have any number of
viewers, and a stop button that stops the model.

    from everstream import AsyncDurableStream
    from everstream.ai import Generation, stream_response

    @app.post("/chats/{chat}")
    async def ask(chat: str, question: str):
        stream = await AsyncDurableStream.create(f"{STREAMS}/{chat}", content_type="text/plain")
        Generation(openai.responses.create(model=..., input=question, stream=True), stream)

    @app.get("/chats/{chat}")
    async def follow(chat: str, request: Request):
        return await stream_response(f"{STREAMS}/{chat}", request)

    @app.delete("/chats/{chat}")
    async def stop(chat: str):
        await AsyncDurableStream(f"{STREAMS}/{chat}").close_stream()

Nothing here imports a model's package. Only `stream_response` needs another one: Starlette, which comes with
`everstream[ai]` or FastAPI.
"""

from ._generation import Generation, Options, Tokens, record, tee
from ._serving import stream_response
from ._text import text_of

__all__ = ["Generation", "Options", "Tokens", "record", "stream_response", "tee", "text_of"]
