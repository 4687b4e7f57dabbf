/** What is sent, and plain HTTP to prepare streams and to look at them. */
import assert from "node:assert/strict"
import { once } from "node:events"
import { Agent, request } from "node:http"
import { text as whole } from "node:stream/consumers"

const agent = new Agent({ keepAlive: true })
const JSON_TYPE = { "content-type": "application/json" }

/** About 100 bytes as JSON, as page views are. */
export function text(number, time = 0) {
  const user = String(number % 100_000).padStart(6, "0")
  const item = String(number % 99_991).padStart(5, "0")
  return `{"i":${number},"t":${time},"user":"user-${user}","action":"page_view","path":"/items/${item}","ok":true}`
}

/** JSON arrays of the messages in their order, of at most this many bytes each. */
export function batches(messages, maxBytes) {
  const done = []
  let batch = []
  let size = 1
  for (const message of messages) {
    if (batch.length > 0 && size + message.length + 1 > maxBytes) {
      done.push(`[${batch.join(",")}]`)
      batch = []
      size = 1
    }
    batch.push(message)
    size += message.length + 1
  }
  return [...done, `[${batch.join(",")}]`]
}

/**
 * Not by `fetch`: its first call has a WebAssembly module compiled in the background, which would be counted for whatever
 * is measured meanwhile. A client that calls `fetch` itself is to pay for that, and no other.
 */
export async function ask(method, url, body, headers = JSON_TYPE) {
  const call = request(url, { method, headers, agent })
  call.end(body)
  const [answer] = await once(call, "response")
  const content = await whole(answer)
  const { statusCode: status, headers: named } = answer
  assert(status >= 200 && status < 300, `${method} ${url}: ${status} ${content.slice(0, 200)}`)
  return { status, headers: named, content }
}

export async function create(url) {
  const { status } = await ask("PUT", url)
  assert.equal(status, 201, `${url} is there already`)
}

/** The text of each answer from a stream's beginning to its tail. */
async function* answers(url) {
  let offset = "-1"
  for (;;) {
    const { headers, content } = await ask("GET", `${url}?offset=${offset}`, undefined, {})
    yield content
    if (headers["stream-up-to-date"] !== undefined) {
      return
    }
    offset = headers["stream-next-offset"]
  }
}

/** Whether the stream holds exactly these messages, given as their texts. */
export async function holds(url, messages) {
  let at = 0
  for await (const content of answers(url)) {
    const part = JSON.parse(content)
    assert.deepEqual(part, messages.slice(at, at + part.length).map((it) => JSON.parse(it)), "what is stored is not what was sent")
    at += part.length
  }
  assert.equal(at, messages.length, "messages are missing")
}
