import type { Abort } from "./backend.js"
import { content, jsonText, stored } from "./data.js"
import { MissingStreamUrlError } from "./errors.js"
import { fetchFor, nativeStream, type Native, type Settings } from "./native-stream.js"
import type { StreamResponse } from "./response.js"
import { withSignals } from "./signal.js"
import { checkSignal, stream } from "./stream.js"
import type {
  AppendOptions,
  AppendResult,
  CloseOptions,
  CloseResult,
  CreateOptions,
  DurableStreamOptions,
  HeadResult,
  MaybePromise,
  NewStream,
  Offset,
  ReadOptions,
} from "./types.js"
import { pieces, resolve } from "./values.js"
import { warnIfUsingHttpInBrowser } from "./warning.js"
import { writable, type WritableOptions } from "./writable.js"

/**
 * A handle to one stream. Making one asks for nothing; dropping it does nothing to the stream.
 *
 * Appends and closes keep the order of the calls. One POST of theirs is under way at a time; what is appended meanwhile
 * shares the next one.
 */
export class DurableStream {
  /** The address. */
  readonly url: string

  readonly #options: DurableStreamOptions
  #contentType: string | undefined
  #natives = new Map<boolean, Native>()
  #bytesAppended = false

  constructor(options: DurableStreamOptions) {
    if (!options.url) {
      throw new MissingStreamUrlError()
    }
    checkSignal(options.signal)
    warnIfUsingHttpInBrowser(options.url, options.warnOnHttp)
    this.url = String(options.url)
    this.#options = options
    this.#contentType = options.contentType
    if (options.backoffOptions !== undefined) {
      // What it refuses is refused here, and not by the first request.
      this.#native()
    }
  }

  /** Creates a stream, or confirms that it is there with the same configuration. */
  static async create(options: CreateOptions): Promise<DurableStream> {
    return new DurableStream(options).create(options)
  }

  /** A handle to a stream that is there; rejects with `StreamNotFoundError` if it is not. */
  static async connect(options: DurableStreamOptions): Promise<DurableStream> {
    const handle = new DurableStream(options)
    await handle.head()
    return handle
  }

  /** What the server knows of a stream. */
  static async head(options: DurableStreamOptions): Promise<HeadResult> {
    return new DurableStream(options).head()
  }

  /** Deletes a stream. */
  static async delete(options: DurableStreamOptions): Promise<void> {
    return new DurableStream(options).delete()
  }

  /** The content type, as far as it is known. */
  get contentType(): string | undefined {
    return this.#contentType ?? [...this.#natives.values()].find((it) => it.stream.contentType)?.stream.contentType ?? undefined
  }

  /** Whether the last {@link create} made the stream; `false` when it was there. */
  created: boolean | undefined

  /** The tail, as the last {@link create} or {@link head} was told. */
  offset: Offset | undefined

  /** Creates the stream, or confirms that it is there with the same configuration. */
  async create(options: NewStream & { signal?: AbortSignal } = {}): Promise<this> {
    const body = await content(options.body)
    const contentType = options.contentType ?? this.#options.contentType
    const { ttlSeconds, expiresAt, closed, forkFrom, forkOffset, forkSubOffset } = options
    const given = { contentType, ttlSeconds, expiresAt, closed, forkFrom, forkOffset, forkSubOffset }
    const created = await this.#call(options.signal, ({ stream }, abort) => stream.create(body, given, abort))
    this.#contentType = created.contentType ?? contentType
    this.created = created.created
    this.offset = created.offset ?? undefined
    return this
  }

  /** What the server knows of the stream. */
  async head(options?: { signal?: AbortSignal }): Promise<HeadResult> {
    const info = await this.#call(options?.signal, ({ stream }, abort) => stream.head(abort))
    this.#contentType = info.contentType ?? this.#contentType
    this.offset = info.offset ?? this.offset
    return {
      exists: true,
      contentType: info.contentType ?? undefined,
      offset: info.offset ?? undefined,
      etag: info.etag ?? undefined,
      cacheControl: info.cacheControl ?? undefined,
      streamClosed: info.closed,
      ttlSeconds: info.ttlSeconds ?? undefined,
      expiresAt: info.expiresAt ?? undefined,
    }
  }

  /** Deletes the stream. */
  async delete(options?: { signal?: AbortSignal }): Promise<void> {
    await this.#call(options?.signal, ({ stream }, abort) => stream.delete(abort))
  }

  /**
   * Appends one message. Text and bytes go as they are, and are one JSON document on a JSON stream; any other value is
   * JSON-encoded there.
   */
  append(body: MaybePromise<Uint8Array | string | object | number | boolean | null>, options?: AppendOptions): Promise<AppendResult> {
    if (typeof (body as PromiseLike<unknown> | null)?.then === "function") {
      return (body as Promise<unknown>).then((it) => this.#append(it, options))
    }
    return this.#append(body, options)
  }

  /** Appends any value as one JSON message, such as a string that is to be a JSON string. */
  async appendJson(value: unknown, options?: AppendOptions): Promise<AppendResult> {
    return this.#appendData(jsonText(value), true, options)
  }

  /** Appends what a source gives, in one request. */
  async appendStream(
    source: ReadableStream<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
    options: AppendOptions = {},
  ): Promise<AppendResult> {
    const { seq, contentType = this.#assumed(), signal } = options
    const iterator = iteratorOf(source)
    try {
      const next = pieces(iterator)
      return await this.#call(signal, ({ stream }, abort) => stream.appendStream(next, { seq, contentType }, abort))
    } catch (error) {
      await iterator.return?.()
      throw error
    }
  }

  /**
   * A `WritableStream` over a producer: exactly once, and with backpressure. Closing it closes the stream for everyone;
   * aborting it leaves the stream open.
   */
  writable(options?: WritableOptions): WritableStream<Uint8Array | string> {
    return writable(this, { ...options, signal: options?.signal ?? this.#options.signal })
  }

  /** Closes the stream for everyone, after what was appended before. */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    const { body, contentType = this.#assumed(), signal } = options
    const finalOffset = await this.#call(signal, ({ stream }, abort) => stream.close(body, contentType, abort))
    return { finalOffset: finalOffset ?? "" }
  }

  /** Reads the stream; see {@link stream}. Headers and parameters are added to the handle's. */
  stream<TJson = unknown>(options: ReadOptions = {}): Promise<StreamResponse<TJson>> {
    const { headers, params, contentType: _type, batching: _batching, idempotent: _idempotent, ...own } = this.#options
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as ReadOptions
    return stream<TJson>({
      ...own,
      ...given,
      url: this.url,
      headers: { ...headers, ...given.headers },
      params: { ...params, ...given.params },
    })
  }

  /** The handle's headers, with the results of functions. */
  async resolveHeaders(): Promise<Record<string, string>> {
    return resolve(this.#options.headers)
  }

  /** What a producer of this stream is made of. @internal */
  _settings(fetch = this.#options.fetch): Settings {
    const carried = fetchFor(fetch) !== undefined
    const contentType = this.contentType ?? (carried ? "application/octet-stream" : undefined)
    return { ...this.#options, url: this.url, contentType, fetch }
  }

  #append(body: unknown, options?: AppendOptions): Promise<AppendResult> {
    try {
      const { data, json } = stored(body)
      return this.#appendData(data, json, options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #appendData(data: string | Uint8Array, json: boolean, options: AppendOptions | undefined): Promise<AppendResult> {
    this.#bytesAppended ||= typeof data !== "string"
    const contentType = options?.contentType ?? this.#assumed()
    if (options === undefined && !json && contentType === undefined) {
      return this.#call(undefined, ({ stream }, abort) => stream.append(data, undefined, abort))
    }
    const given = { seq: options?.seq, contentType, json }
    return this.#call(options?.signal, ({ stream }, abort) => stream.append(data, given, abort))
  }

  /**
   * What is written through a `fetch` when nobody has said what the stream is. Over connections that is asked for; but
   * who gives a `fetch` counts its calls, and the official client makes no other.
   */
  #assumed(): string | undefined {
    return this.contentType === undefined && fetchFor(this.#options.fetch) ? "application/octet-stream" : undefined
  }

  #call<T>(signal: AbortSignal | undefined, call: (native: Native, abort?: Abort) => Promise<T>): Promise<T> {
    const native = this.#native()
    const called = withSignals([this.#options.signal, signal], (abort) => call(native, abort))
    if (this.#options.onError === undefined) {
      return called
    }
    return called.catch((error: unknown) => {
      throw native.handler.take(error)
    })
  }

  /** Over connections or over `fetch`, as it is now. */
  #native(): Native {
    const carried = fetchFor(this.#options.fetch) !== undefined
    let native = this.#natives.get(carried)
    if (native === undefined) {
      const { contentType, url } = this
      native = nativeStream({ ...this.#options, url, contentType, isText: () => !this.#bytesAppended })
      this.#natives.set(carried, native)
    }
    return native
  }
}

function iteratorOf<T>(source: ReadableStream<T> | AsyncIterable<T>): AsyncIterator<T> {
  if (!(source instanceof ReadableStream)) {
    return source[Symbol.asyncIterator]()
  }
  const reader = source.getReader()
  return {
    async next() {
      const { done, value } = await reader.read()
      return done ? { done, value: undefined } : { done, value }
    },
    async return() {
      await reader.cancel()
      return { done: true, value: undefined }
    },
  }
}
