// A language model for those who have none: speaks the format of OpenAI's chat completions, and replays a real text at
// the speed of tokens.
//
//     node model.mjs                        http://127.0.0.1:4600/v1
//     TOKENS_PER_SECOND=200 PORT=0 node model.mjs
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import { setTimeout as pause } from "node:timers/promises"

const text = readFileSync(new URL("alice.txt", import.meta.url), "utf8")
// About what a tokenizer would make of it: words of up to six characters, with the space before them.
const tokens = text.match(/\s*\S{1,6}|\s+/gu)
const interval = 1000 / Number(process.env.TOKENS_PER_SECOND ?? 40)
let answers = 0

const server = createServer(async (request, response) => {
  request.resume()
  await once(request, "end")
  if (request.method !== "POST" || request.url !== "/v1/chat/completions") {
    response.writeHead(404).end()
    return
  }
  const answer = ++answers
  const hungUp = new AbortController()
  response.on("close", () => hungUp.abort())
  const send = (delta, finish_reason = null) => {
    const choices = [{ index: 0, delta, finish_reason }]
    const chunk = { id: `answer-${answer}`, object: "chat.completion.chunk", created: 0, model: "alice", choices }
    response.write(`data: ${JSON.stringify(chunk)}\n\n`)
  }

  response.writeHead(200, { "content-type": "text/event-stream" })
  send({ role: "assistant", content: "" })
  let sent = 0
  try {
    for (const content of tokens) {
      await pause(interval, undefined, { signal: hungUp.signal })
      send({ content })
      sent += 1
    }
  } catch {
    console.log(`answer ${answer}: stopped after ${sent} of ${tokens.length} tokens`)
    return
  }
  send({}, "stop")
  response.end("data: [DONE]\n\n")
  console.log(`answer ${answer}: all ${sent} tokens`)
})

server.listen(Number(process.env.PORT ?? 4600), "127.0.0.1", () => {
  console.log(`model at http://127.0.0.1:${server.address().port}/v1`)
})
