"""A model's answer with two viewers, a page reload and a stop button. Needs a server: `everstream serve`.

The model is a stand-in; with OpenAI it is `openai.responses.create(..., stream=True)` instead of `model()`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from uuid import uuid4

from everstream import AsyncDurableStream, Checkpoint, astream
from everstream.ai import Generation

SERVER = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")
ANSWER = "Streams that outlive their readers are simple: write every token down once, and let anyone read along. 🎉"


async def model() -> AsyncIterator[str]:
    try:
        for word in ANSWER.split(" "):
            await asyncio.sleep(0.02)
            yield word + " "
    finally:
        print("the model has stopped")


async def view(url: str, checkpoint: Checkpoint | None = None, pieces: int = 1000) -> tuple[str, Checkpoint]:
    """Reads the answer as it comes: all of it, or some pieces."""
    text = ""
    async with astream(url, checkpoint=checkpoint) as response:
        async for piece in response.iter_text():
            text += piece
            pieces -= 1
            if pieces == 0:
                break
        return text, response.checkpoint()


async def main() -> None:
    answer = await AsyncDurableStream.create(f"{SERVER}/answer-{uuid4()}", content_type="text/plain")
    generation = Generation(model(), answer)

    other_viewer = asyncio.create_task(view(answer.url))
    before, checkpoint = await view(answer.url, pieces=5)
    print("seen before the reload:", before)
    after, _ = await view(answer.url, checkpoint)
    print("seen after the reload: ", after)

    other, _ = await other_viewer
    assert before + after == other == await generation

    stopped = await AsyncDurableStream.create(f"{SERVER}/answer-{uuid4()}", content_type="text/plain")
    generation = Generation(model(), stopped)
    await view(stopped.url, pieces=3)
    # The stop button, from any process: whoever writes to a stream that is closed stops. `generation.stop()` does the
    # same at once, in the process that has it.
    await AsyncDurableStream(stopped.url).close_stream()
    await generation
    print("stopped after:         ", (await view(stopped.url))[0])


asyncio.run(main())
