import type { Checkpoint } from "./checkpoints.js"

/** A position in a stream: `"-1"` is the beginning, `"now"` the tail, anything else is what a server named. */
export type Offset = string

export type MaybePromise<T> = T | Promise<T>

/** Headers of requests; functions are asked anew for each of them, retries and reconnects included. */
export interface HeadersRecord {
  [name: string]: string | (() => MaybePromise<string>)
}

/** Query parameters of requests, as {@link HeadersRecord}; `undefined` is none. */
export interface ParamsRecord {
  [name: string]: string | (() => MaybePromise<string>) | undefined
}

/**
 * How a read goes on at the tail: `false` or `"catch-up"` not at all, `true` or `"auto"` by the means that carries the
 * stream unchanged (SSE for JSON, long-poll for everything else), or by the one that is named.
 */
export type LiveMode = boolean | "auto" | "catch-up" | "long-poll" | "sse"

/** The name of an earlier version. */
export type LegacyLiveMode = LiveMode

/** When and how often requests are tried again. */
export interface BackoffOptions {
  /** Upper bound of the first wait, in ms. Default 100. */
  initialDelay: number
  /** Upper bound of every wait, in ms. Default 60,000. */
  maxDelay: number
  /** Growth of the bound from one wait to the next. Default 1.3. */
  multiplier: number
  /** Retries of a single request. Default 15; `Infinity` leaves it to {@link totalMs}. Live reads have no limit. */
  maxRetries?: number
  /** From the first try of a single request to the start of the last one, in ms. Default 60,000; `Infinity` is for ever. */
  totalMs?: number
  /** Whether a plain append is sent again after a 500. Default true, as the official client does. */
  retryAppendsOn5xx?: boolean
  /** Called after each try that failed. */
  onFailedAttempt?: () => void
  /** Tells of each try that failed on the console. */
  debug?: boolean
}

/** What an error handler gives to try again with, over what was there. */
export interface RetryOpts {
  params?: ParamsRecord
  headers?: HeadersRecord
}

/**
 * Asked when something is about to fail for good: the first request and every later one, reconnects included. An object
 * means that something was mended, and it is tried again; nothing means that it fails.
 */
export type StreamErrorHandler = (error: Error) => MaybePromise<void | RetryOpts>

/** When SSE gives way to long-poll for the rest of a read. */
export interface SSEResilienceOptions {
  /** A connection that ends sooner is a short one, in ms. Default 1000. */
  minConnectionDuration?: number
  /** So many short ones in a row end the use of SSE. Default 3. */
  maxShortConnections?: number
  /** Bound of the first wait after a short one, in ms. Default 100. */
  backoffBaseDelay?: number
  /** Bound of every such wait, in ms. Default 5000. */
  backoffMaxDelay?: number
  /** Of the official client; there is nothing to warn of. */
  logWarnings?: boolean
}

/** What handles and reads have in common. */
export interface RequestOptions {
  /** Where the stream is. */
  url: string | URL
  /** Headers of every request. */
  headers?: HeadersRecord
  /** Query parameters of every request. */
  params?: ParamsRecord
  /** Gives up what is under way; calls reject with its `reason`. */
  signal?: AbortSignal
  /**
   * Carries the requests. Default: connections of our own, unless `globalThis.fetch` was replaced, as mocks do; then it is
   * called.
   */
  fetch?: typeof globalThis.fetch
  /** See {@link BackoffOptions}. */
  backoffOptions?: Partial<BackoffOptions>
  /** See {@link StreamErrorHandler}. */
  onError?: StreamErrorHandler
  /** Warns once per origin when a browser uses `http:`. Default true. */
  warnOnHttp?: boolean
  /** How long one try of a request may take, in ms. Default 30,000. Live requests have their own limit. */
  timeoutMs?: number
}

/** Options of {@link stream}. */
export interface StreamOptions extends RequestOptions {
  /** Where to start. Default: the beginning. */
  offset?: Offset | Checkpoint
  /** Default true. */
  live?: LiveMode
  /** Reads the stream as JSON whatever its content type says. */
  json?: boolean
  /** See {@link SSEResilienceOptions}. */
  sseResilience?: SSEResilienceOptions
  /** An answer longer than this is handed over in parts. Bytes, default 4 MiB. */
  maxBatchBytes?: number
  /** Of `JSON.parse`, for every value. */
  reviver?: (this: unknown, key: string, value: unknown) => unknown
  /** In place of `JSON.parse`: gets the text of a JSON array. Such as for integers above 2^53. */
  parse?: (text: string) => unknown
  /** Whether the read pauses while nobody sees the page. Default true; means nothing outside of pages. */
  pauseWhenHidden?: boolean
  /**
   * Whether the tabs of a browser share one live request for what they read alike: over HTTP/1.1 a browser opens only six
   * to a server. Makes `auto` a long-poll. Default false; means nothing outside of browsers.
   */
  shareAcrossTabs?: boolean
  /** What the caller has of this read already: when it is still current, the read ends at once without data. */
  etag?: string
}

/** What names a stream. */
export interface StreamHandleOptions extends RequestOptions {
  /** The stream's content type, if it is known. Otherwise it is asked for when it is needed. */
  contentType?: string
  /** Whether appends that are made while one is under way share the next request. Default true. */
  batching?: boolean
  /** Gives appends an identity, so that every one can be sent again and is stored once. Default false. */
  idempotent?: boolean
}

/** Options of a {@link DurableStream}. */
export interface DurableStreamOptions extends StreamHandleOptions {}

/** What a new stream is to be. */
export interface NewStream {
  /** Fixed for the life of the stream. Default `application/octet-stream`. */
  contentType?: string
  /** Sliding lifetime in seconds, restarted by every read and write. */
  ttlSeconds?: number
  /** Fixed deadline, RFC 3339. */
  expiresAt?: string
  /** Initial content, as it is; objects are JSON-encoded. */
  body?: BodyInit | Uint8Array | string | object
  /** Closed from the start: the body is all it will ever hold. */
  closed?: boolean
  /** URL path of a stream on the same server whose data this one starts with. */
  forkFrom?: string
  /** Everything before it is taken over. Default: the tail. */
  forkOffset?: Offset
  /** Messages (JSON) or bytes to take over beyond `forkOffset`. Default 0. */
  forkSubOffset?: number
}

/** Options of {@link DurableStream.create}. */
export interface CreateOptions extends StreamHandleOptions, NewStream {}

/** Options of an append. */
export interface AppendOptions {
  /** `Stream-Seq`: strictly increasing, compared bytewise. */
  seq?: string
  /** Default: the stream's. */
  contentType?: string
  /** Takes this one append back. */
  signal?: AbortSignal
  /** Of the official client, which does not send it either. Use {@link IdempotentProducer}. */
  producerId?: string
  /** See {@link producerId}. */
  producerEpoch?: number
  /** See {@link producerId}. */
  producerSeq?: number
}

/** What became of an append. */
export interface AppendResult {
  /** The tail after it, if the server said so. */
  offset: Offset | null
  /** Whether it was stored by an earlier try; only of idempotent handles. */
  duplicate: boolean
  /** Whether the stream was closed with it. */
  closed: boolean
}

/** What became of a message of a producer. */
export type IdempotentAppendResult = AppendResult

/** What became of a producer's messages since the flush before. */
export interface FlushResult {
  /** The tail after the last one, if the server said so. */
  offset: Offset | null
  /** How many were stored. */
  messages: number
  /** How many had been stored by an earlier run with the same identity. */
  duplicates: number
}

/** Options of {@link DurableStream.close}. */
export interface CloseOptions {
  /** A last message, in the same step. */
  body?: Uint8Array | string
  contentType?: string
  signal?: AbortSignal
}

/** What became of a close. */
export interface CloseResult {
  /** Where the stream ends. */
  finalOffset: Offset
}

/** What the server knows of a stream. */
export interface HeadResult {
  exists: true
  contentType?: string
  /** The tail. */
  offset?: Offset
  etag?: string
  cacheControl?: string
  streamClosed: boolean
  /** The sliding lifetime. */
  ttlSeconds?: number
  /** The fixed deadline, RFC 3339. */
  expiresAt?: string
}

/** Options of {@link DurableStream.stream}: those that are given win over the handle's. */
export type ReadOptions = Omit<StreamOptions, "url">

/** Where data leaves its reader. */
export interface BatchMeta {
  /** The offset after it; in the middle of one long answer the one before it: see `checkpoint`. */
  readonly offset: Offset
  /** Whether everything that existed when it was sent is delivered with it. */
  readonly upToDate: boolean
  readonly cursor?: string
  /** Whether the stream ends with it. */
  readonly streamClosed: boolean
  /** Exactly where to go on after it. */
  readonly checkpoint: Checkpoint
}

/** The name of the official client. */
export type JsonBatchMeta = BatchMeta

/** Messages of a JSON stream. */
export interface JsonBatch<T = unknown> extends BatchMeta {
  readonly items: ReadonlyArray<T>
}

/** Bytes of a stream. */
export interface ByteChunk extends BatchMeta {
  readonly data: Uint8Array
}

/** Text of a stream. */
export interface TextChunk extends BatchMeta {
  readonly text: string
}

/** Options of an {@link IdempotentProducer}. */
export interface IdempotentProducerOptions {
  /** Fencing number. Default 0. */
  epoch?: number
  /** Takes over with a higher epoch when fenced, instead of failing. Default false. */
  autoClaim?: boolean
  /** Bytes of a batch's body; only a single larger message exceeds it. Default 1 MiB. */
  maxBatchBytes?: number
  /** Messages in a batch. Default no limit. */
  maxBatchItems?: number
  /** How long a message waits for others, in ms. Default 5. */
  lingerMs?: number
  /** Batches under way at once. Default 5. */
  maxInFlight?: number
  /** Bytes of messages that are not answered yet; beyond it messages wait. Default 32 MiB. */
  maxBufferedBytes?: number
  /** How long a batch may be tried, in ms. Default 120,000; `Infinity` is for ever. */
  deliveryTimeoutMs?: number
  /** How long one request may take before it is sent again, in ms. Default 30,000. */
  timeoutMs?: number
  /** Default: the stream's. */
  fetch?: typeof globalThis.fetch
  /** Over the stream's. */
  headers?: HeadersRecord
  /** Stops the producer: later appends throw its `reason`, and waits reject with it. */
  signal?: AbortSignal
  /** Called with the error of each batch that was not stored. */
  onError?: (error: Error) => void
}
