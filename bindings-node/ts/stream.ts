import { DurableStreamError, InvalidSignalError } from "./errors.js"
import { nativeStream } from "./native-stream.js"
import { StreamResponseImpl, type StreamResponse } from "./response.js"
import { withSignals } from "./signal.js"
import type { LiveMode, StreamOptions } from "./types.js"
import { warnIfUsingHttpInBrowser } from "./warning.js"

/**
 * Reads a stream. The promise is fulfilled once the first answer has begun; it rejects when the stream is not there, or
 * must not be read.
 *
 * ```ts
 * const response = await stream<{ order: number }>({ url, offset: saved })
 * for await (const { order } of response) {
 *   console.log(order)
 * }
 * ```
 */
export async function stream<TJson = unknown>(options: StreamOptions): Promise<StreamResponse<TJson>> {
  if (!options.url) {
    throw new DurableStreamError("Invalid stream options: missing required url parameter", "BAD_REQUEST")
  }
  checkSignal(options.signal)
  warnIfUsingHttpInBrowser(options.url, options.warnOnHttp)
  const url = String(options.url)
  const { offset = "-1", live = true, signal, sseResilience } = options
  // Written out, as the others are: each object that begins with the properties of another has a shape of its own in V8,
  // which is larger than itself, and programs follow many streams at once.
  const native = nativeStream({
    url,
    headers: options.headers,
    params: options.params,
    fetch: options.fetch,
    backoffOptions: options.backoffOptions,
    onError: options.onError,
    timeoutMs: options.timeoutMs,
    shareAcrossTabs: options.shareAcrossTabs,
  })
  const read = {
    offset: typeof offset === "string" ? offset : undefined,
    checkpoint: typeof offset === "string" ? undefined : JSON.stringify(offset),
    // What is shared is an answer that ends.
    live: options.shareAcrossTabs && named(live) === "auto" ? "long-poll" : named(live),
    json: options.json,
    maxBatchBytes: options.maxBatchBytes,
    etag: options.etag,
    readAhead: !native.carried,
    // For a platform that parses on the way.
    plainItems: options.parse === undefined && options.reviver === undefined,
    sse: sseResilience && {
      minConnectionDuration: sseResilience.minConnectionDuration,
      maxShortConnections: sseResilience.maxShortConnections,
      backoffBaseDelay: sseResilience.backoffBaseDelay,
      backoffMaxDelay: sseResilience.backoffMaxDelay,
    },
  }
  try {
    const reader = await withSignals([signal], (abort) =>
      native.stream.read(read, abort),
    )
    const { parse, reviver, pauseWhenHidden } = options
    const asked = { url, live, offset, parse, reviver, pauseWhenHidden, signal }
    return new StreamResponseImpl<TJson>(asked, reader, native.handler)
  } catch (error) {
    throw native.handler.take(error)
  }
}

export function checkSignal(signal: unknown): void {
  if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal)) {
    throw new InvalidSignalError()
  }
}

function named(live: LiveMode): "auto" | "catch-up" | "long-poll" | "sse" {
  return live === true ? "auto" : live === false ? "catch-up" : live
}
