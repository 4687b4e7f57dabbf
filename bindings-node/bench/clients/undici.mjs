/** undici and JSON.parse, without a client for streams: each loop does the least that is right. */
import { Client } from "undici"

const headers = { "content-type": "application/json" }

/** POSTs bodies that are ready. */
export async function post(url, batches) {
  const ask = connect(url)
  for (const body of batches) {
    await (await ask("POST", "", body)).dump()
  }
  await ask.close()
}

export function appender(url) {
  const ask = connect(url)
  const append = async (body) => (await ask("POST", "", body)).dump()
  append.close = ask.close
  return append
}

export async function readJson(url) {
  let items = []
  for await (const content of answers(url)) {
    const more = JSON.parse(await content.text())
    if (items.length === 0) {
      items = more
    } else {
      for (const item of more) {
        items.push(item)
      }
    }
  }
  return items
}

export async function iterJson(url, take) {
  for await (const content of answers(url)) {
    for (const item of JSON.parse(await content.text())) {
      if (take(item)) {
        break
      }
    }
  }
}

export async function readBytes(url) {
  const parts = []
  for await (const content of answers(url)) {
    parts.push(new Uint8Array(await content.arrayBuffer()))
  }
  return parts.length === 1 ? parts[0] : Buffer.concat(parts)
}

/** The body of each answer from a stream's beginning to its tail. */
async function* answers(url) {
  const ask = connect(url)
  let offset = "-1"
  for (;;) {
    const body = await ask("GET", `?offset=${offset}`)
    yield body
    if ("stream-up-to-date" in body.headers) {
      break
    }
    offset = body.headers["stream-next-offset"]
  }
  await ask.close()
}

function connect(url) {
  const { origin, pathname } = new URL(url)
  const client = new Client(origin)
  const ask = async (method, query, body) => {
    const answer = await client.request({ method, path: pathname + query, headers: body && headers, body })
    if (answer.statusCode >= 300) {
      throw new Error(`the server answers ${answer.statusCode}`)
    }
    return Object.assign(answer.body, { headers: answer.headers })
  }
  ask.close = () => client.close()
  return ask
}
