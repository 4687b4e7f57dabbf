// A chat whose answers are streams. The page reads them from the stream server; this one asks the model, and writes.
// server.py is the same in Python, for the same page.
import { readFile } from "node:fs/promises"
import { createServer } from "node:http"
import { extname } from "node:path"

import { DurableStream, IdempotentProducer, stream } from "everstream"
import OpenAI from "openai"

const STREAMS = process.env.STREAMS_URL ?? "http://127.0.0.1:4437/v1/stream"
const MODEL = process.env.OPENAI_MODEL ?? "alice"
const openai = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:4600/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "none",
})

/** The answers that this process is writing. */
const running = new Set()

// A chat is a JSON stream: {question, answer} begins an answer, {answer, ended} says how it ended. The text of each
// answer is a stream of its own, which is closed when no more text comes.
const chatUrl = (chat) => `${STREAMS}/chats/${chat}`
const answerUrl = (answer) => `${STREAMS}/answers/${answer}`

/** Makes the chat if it is new, and gives what was said so far. An answer whose writer is gone is ended here. */
async function open(chat) {
  const handle = await DurableStream.create({ url: chatUrl(chat), contentType: "application/json" })
  const entries = await (await stream({ url: handle.url, live: false })).json()
  const ended = new Set(entries.filter((entry) => entry.ended).map((entry) => entry.answer))
  for (const { question, answer } of entries) {
    if (question && !ended.has(answer) && !running.has(answer)) {
      await new DurableStream({ url: answerUrl(answer) }).close()
      await handle.append({ answer, ended: "interrupted" })
    }
  }
  return { handle, entries }
}

/** Begins an answer. It goes on when the request is over, the page closed and the user asleep. */
async function ask(chat, question) {
  const { handle, entries } = await open(chat)
  const messages = []
  for (const entry of entries.filter((entry) => entry.question)) {
    const text = await (await stream({ url: answerUrl(entry.answer), live: false })).text()
    messages.push({ role: "user", content: entry.question }, { role: "assistant", content: text })
  }
  messages.push({ role: "user", content: question })

  const answer = crypto.randomUUID()
  const text = await DurableStream.create({ url: answerUrl(answer), contentType: "text/plain" })
  running.add(answer)
  await handle.append({ question, answer })
  void write(text, messages)
    .then((ended) => handle.append({ answer, ended }))
    .catch((error) => console.error(`chat ${chat}: the end of an answer was not stored:`, error))
    .finally(() => running.delete(answer))
  return { answer }
}

/** Carries the model's tokens into a stream, until the model is done or the stream is closed: that is the stop button. */
async function write(text, messages) {
  const stopped = new AbortController()
  const producer = new IdempotentProducer(text, "model", { lingerMs: 10, onError: () => stopped.abort() })
  let ended = "complete"
  try {
    const completion = await openai.chat.completions.create(
      { model: MODEL, messages, stream: true },
      { signal: stopped.signal },
    )
    for await (const chunk of completion) {
      const token = chunk.choices[0]?.delta?.content
      if (token) {
        producer.append(token)
      }
    }
  } catch (error) {
    if (!stopped.signal.aborted) {
      ended = "failed"
      console.error("the model failed:", error.message)
    }
  }
  try {
    await producer.close()
  } catch {
    // Closed by somebody else: what came before is stored, and readers have seen the end.
    ended = "stopped"
  }
  return ended
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" }
const BROWSER_BUILD = new URL("node_modules/everstream/dist/", import.meta.url)

async function file(response, base, name) {
  const url = new URL(`./${name}`, base)
  if (!url.href.startsWith(base.href)) {
    throw Object.assign(new Error("outside"), { code: "ENOENT" })
  }
  const content = await readFile(url)
  response.writeHead(200, { "content-type": TYPES[extname(url.pathname)] ?? "application/octet-stream" }).end(content)
}

async function body(request) {
  let text = ""
  for await (const piece of request.setEncoding("utf8")) {
    text += piece
  }
  return JSON.parse(text)
}

async function route(request, response) {
  const { pathname } = new URL(request.url, "http://localhost")
  const [, kind, id, rest] = pathname.match(/^\/(chats|answers)\/([\w-]+)(\/answers)?$/) ?? []
  const json = (status, value) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value))
  switch (`${request.method} ${kind ?? "file"}${rest ?? ""}`) {
    case "PUT chats":
      await open(id)
      return json(200, { chat: chatUrl(id), answers: answerUrl("") })
    case "POST chats/answers":
      return json(201, await ask(id, (await body(request)).question))
    case "DELETE answers":
      await new DurableStream({ url: answerUrl(id) }).close()
      return response.writeHead(204).end()
    case "GET file":
      if (pathname.startsWith("/everstream/")) {
        return file(response, BROWSER_BUILD, pathname.slice("/everstream/".length))
      }
      return file(response, new URL("page/", import.meta.url), pathname.slice(1) || "index.html")
    default:
      return response.writeHead(404).end()
  }
}

const server = createServer((request, response) => {
  route(request, response).catch((error) => {
    if (error.code !== "ENOENT") {
      console.error(`${request.method} ${request.url}:`, error)
    }
    response.writeHead(error.code === "ENOENT" ? 404 : 500).end()
  })
})
server.listen(Number(process.env.PORT ?? 4500), "127.0.0.1", () => {
  console.log(`chat at http://127.0.0.1:${server.address().port}/`)
})
