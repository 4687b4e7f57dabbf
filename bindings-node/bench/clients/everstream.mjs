/** Ours. */
import { DurableStream, IdempotentProducer, stream } from "everstream"

const contentType = "application/json"

export async function produce(url, messages) {
  const producer = new IdempotentProducer(new DurableStream({ url, contentType }), "bench")
  for (const message of messages) {
    producer.append(message)
  }
  await producer.flush()
  await producer.detach()
}

export function appender(url) {
  const handle = new DurableStream({ url, contentType })
  return (message) => handle.append(message)
}

export async function readJson(url) {
  return (await stream({ url, live: false })).json()
}

export async function iterJson(url, take) {
  for await (const item of (await stream({ url, live: false })).jsonStream()) {
    if (take(item)) {
      return
    }
  }
}

export async function readBytes(url) {
  return (await stream({ url, live: false })).body()
}

/** Follows a stream until it is told that this is enough. */
export async function tail(url, take) {
  for await (const item of await stream({ url, live: "sse" })) {
    if (take(item)) {
      return
    }
  }
}
