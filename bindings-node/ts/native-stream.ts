/** Native handles, made of options of the face. */
import { backend, connections, replacedFetch, type Carry, type Client, type HandleOptions, type Stream } from "./backend.js"
import { carry } from "./carry.js"
import type { BackoffOptions, HeadersRecord, ParamsRecord, StreamErrorHandler } from "./types.js"
import { event, Handler, values } from "./values.js"

type Fetch = typeof globalThis.fetch

/** What a native handle is made of. */
export interface Settings {
  url: string
  headers?: HeadersRecord
  params?: ParamsRecord
  contentType?: string
  fetch?: Fetch
  backoffOptions?: Partial<BackoffOptions>
  onError?: StreamErrorHandler
  timeoutMs?: number
  batching?: boolean
  idempotent?: boolean
  shareAcrossTabs?: boolean
  /** Whether the caller gave text only. */
  isText?: () => boolean
}

/** A native handle, and what goes with it. */
export interface Native {
  stream: Stream
  handler: Handler
  /** Whether requests go by `fetch`. */
  carried: boolean
}

/**
 * Which `fetch` carries requests made now: the one that was given, or the one that was put in the place of the
 * platform's. `undefined`: connections of our own.
 */
export function fetchFor(given: Fetch | undefined): Fetch | undefined {
  return given ?? replacedFetch()
}

/** What is to be done after each try that failed. */
function failedAttempt(url: string, backoff: Partial<BackoffOptions> | undefined): (() => void) | undefined {
  const { debug, onFailedAttempt } = backoff ?? {}
  if (!debug) {
    return onFailedAttempt && event(onFailedAttempt)
  }
  return event(() => {
    console.log(`everstream: a request to ${url} failed`)
    onFailedAttempt?.()
  })
}

/** Makes one. */
export function nativeStream(settings: Settings): Native {
  const { url, isText = () => false } = settings
  const { client, manner, handler, carried } = nativeClient(settings, (fetch, names) => carry({ fetch, url, names, isText }))
  return { stream: new backend.Stream(client, url, manner), handler, carried }
}

/** What carries requests, and how they are made. `carrying` makes the carrier where a `fetch` is to be called. */
export function nativeClient(
  settings: Settings,
  carrying: (fetch: Fetch, names: Map<string, string>) => Carry,
): { client: Client; manner: HandleOptions; handler: Handler; carried: boolean } {
  const { url, fetch: given } = settings
  const names = new Map<string, string>()
  const learn = (headers: HeadersRecord | undefined): void => {
    for (const name of Object.keys(headers ?? {})) {
      names.set(name.toLowerCase(), name)
    }
  }
  learn(settings.headers)
  const handler = new Handler(settings.onError, learn)
  let client: Client
  const carried = fetchFor(given) !== undefined
  if (carried) {
    // A replaced `fetch` is looked up each time: mocks come and go.
    const fetch: Fetch = given ?? ((...args) => globalThis.fetch(...args))
    client = new backend.Client({}, carrying(fetch, names))
  } else {
    client = connections(settings.shareAcrossTabs)
  }
  const backoff = settings.backoffOptions
  const manner: HandleOptions = {
    headers: values(settings.headers),
    params: values(settings.params),
    contentType: settings.contentType,
    batching: settings.batching,
    idempotent: settings.idempotent,
    requestTimeout: settings.timeoutMs,
    onError: handler.ask,
    onFailedAttempt: failedAttempt(url, backoff),
    retry: backoff && {
      initialDelay: backoff.initialDelay,
      maxDelay: backoff.maxDelay,
      multiplier: backoff.multiplier,
      maxRetries: backoff.maxRetries,
      total: backoff.totalMs,
      retryAppendsOn5Xx: backoff.retryAppendsOn5xx,
    },
  }
  return { client, manner, handler, carried }
}
