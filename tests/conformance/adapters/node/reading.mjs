/** Reads: to the tail, so many messages, or live for a time. */
import { stream } from "./everstream.mjs"
import { stringifyExactly, parseExactly } from "./json.mjs"
import { isJson, success } from "./protocol.mjs"

/** Carries out a `read`. */
export async function read(command, options) {
  const { live = false, offset, checkpoint, json, onErrorHeaders } = command
  let onErrorCalls = onErrorHeaders && 0
  const onError = () => {
    onErrorCalls += 1
    return onErrorCalls === 1 ? { headers: onErrorHeaders } : undefined
  }
  const response = await stream({
    ...options,
    live,
    offset: checkpoint === undefined ? offset : JSON.parse(checkpoint),
    json,
    parse: parseExactly,
    onError: onErrorHeaders && onError,
  })
  const asJson = json || isJson(response.contentType)
  try {
    const read = command.maxItems !== undefined ? some : live === false ? toTheTail : follow
    return success(command, { ...(await read(response, command, asJson)), onErrorCalls })
  } finally {
    response.cancel()
  }
}

async function toTheTail(response, _command, asJson) {
  const data = asJson ? await response.json() : await response.body()
  return result(response, response, data.length === 0 ? [] : [chunk(data, response.offset)])
}

async function some(response, { maxItems }) {
  const items = []
  for await (const item of response) {
    if (items.push(item) === maxItems) {
      break
    }
  }
  return result(response, response, [chunk(items, response.offset)])
}

/** Collects batches until that is enough or the time is over. */
async function follow(response, command, asJson) {
  const { maxChunks = 100, waitForUpToDate = false, timeoutMs = 5000 } = command
  const chunks = []
  let place = response
  let timedOut = false
  const take = (batch) => {
    place = batch
    const data = batch.items ?? batch.data
    if (data.length > 0) {
      chunks.push(chunk(data, batch.offset))
    }
    if (batch.streamClosed || chunks.length >= maxChunks || (waitForUpToDate && batch.upToDate)) {
      response.cancel()
    }
  }
  const timer = setTimeout(() => {
    timedOut = true
    response.cancel()
  }, timeoutMs)
  if (asJson) {
    response.subscribeJson(take)
  } else {
    response.subscribeBytes(take)
  }
  await response.closed
  clearTimeout(timer)
  // One that waited in vain is at the tail.
  return { ...result(response, place, chunks), ...(timedOut && { upToDate: true }) }
}

function result(response, { offset, upToDate, streamClosed, cursor, checkpoint }, chunks) {
  const place = typeof checkpoint === "object" ? checkpoint : response.checkpoint()
  return { status: response.status, chunks, offset, upToDate, streamClosed, cursor, checkpoint: JSON.stringify(place) }
}

/** A chunk of a result: text wherever it is text, the array of a JSON batch. */
function chunk(data, offset) {
  if (Array.isArray(data)) {
    return { data: stringifyExactly(data), offset }
  }
  try {
    return { data: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data), offset }
  } catch {
    return { data: base64(data), binary: true, offset }
  }
}

function base64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))
}
