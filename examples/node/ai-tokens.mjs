// Writes the tokens of a language model to a stream, as they come. Needs OPENAI_API_KEY.
//
//     node ai-tokens.mjs "Why is the sky blue?"
import OpenAI from "openai"

import { DurableStream, IdempotentProducer } from "everstream"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream/generation-1"
const prompt = process.argv[2] ?? "Tell a short story."

const handle = await DurableStream.create({ url, contentType: "text/plain" })

// One POST carries what came within 10 ms. A process that takes over is fenced in, and the one before is fenced out.
const producer = new IdempotentProducer(handle, "generation-1", {
  autoClaim: true,
  lingerMs: 10,
  onError: (error) => console.error("not stored:", error),
})

const completion = await new OpenAI().chat.completions.create({
  model: process.env.OPENAI_MODEL ?? "gpt-4.1-mini",
  messages: [{ role: "user", content: prompt }],
  stream: true,
})
for await (const chunk of completion) {
  const token = chunk.choices[0]?.delta?.content
  if (token) {
    producer.append(token) // Nobody has to wait for it.
  }
}

// Sends the rest, and tells readers that this is the end.
await producer.close()
