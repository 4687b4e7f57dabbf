import type { Batch, Reader } from "./backend.js"
import { Chunk, checkpointOf } from "./batch.js"
import type { Checkpoint } from "./checkpoints.js"
import { DurableStreamError } from "./errors.js"
import { iteratedBy, type ReadableStreamAsyncIterable } from "./iterable.js"
import { BatchIterator, ItemIterator } from "./iterators.js"
import type { ByteChunk, JsonBatch, LiveMode, MaybePromise, Offset, StreamOptions, TextChunk } from "./types.js"
import type { Handler } from "./values.js"
import { watchVisibility } from "./visibility.js"

/**
 * A read under way. It is consumed once, in one of these ways: all up to the tail (`json`, `text`, `body`), as a stream
 * (`jsonStream`, `textStream`, `bodyStream`), by a function (`subscribeJson`, `subscribeText`, `subscribeBytes`), or with
 * `for await`, which gives the messages of a JSON stream and the bytes of any other. All but the first go on live.
 */
export interface StreamResponse<TJson = unknown> extends AsyncIterable<TJson>, AsyncDisposable {
  readonly url: string
  readonly contentType?: string
  readonly live: LiveMode
  readonly startOffset: Offset
  /** Of the last answer; of an event stream, of its opening. */
  readonly headers: Headers
  readonly status: number
  readonly statusText: string
  readonly ok: boolean
  readonly isLoading: boolean
  /** The offset after the last item handed over. Before the read is consumed: that of the answer. */
  readonly offset: Offset
  readonly cursor?: string
  /** Whether everything that existed is handed over. Before anything is: what the answer says. */
  readonly upToDate: boolean
  /** Whether the stream has ended. */
  readonly streamClosed: boolean
  /** Whether the read ended because what the caller has is still current. */
  readonly notModified: boolean
  /** Exactly where to go on after the last item handed over; store it, and give it as `offset` later. */
  checkpoint(): Checkpoint
  /** All bytes up to the tail. */
  body(): Promise<Uint8Array>
  /** All messages up to the tail. */
  json<T = TJson>(): Promise<T[]>
  /** All text up to the tail. */
  text(): Promise<string>
  bodyStream(): ReadableStreamAsyncIterable<Uint8Array>
  jsonStream(): ReadableStreamAsyncIterable<TJson>
  textStream(): ReadableStreamAsyncIterable<string>
  /** Calls a function for each batch, and waits for it; gives a function that ends that. */
  subscribeJson<T = TJson>(subscriber: (batch: JsonBatch<T>) => MaybePromise<void>): () => void
  subscribeBytes(subscriber: (chunk: ByteChunk) => MaybePromise<void>): () => void
  subscribeText(subscriber: (chunk: TextChunk) => MaybePromise<void>): () => void
  /** Aborts the request and ends the read. */
  cancel(reason?: unknown): void
  /** Fulfilled when the read has ended or was cancelled; rejects with what it failed with. */
  readonly closed: Promise<void>
  /** Keeps the process alive while somebody waits for this read, as is the default. */
  ref(): this
  /** Lets the process end although somebody waits for this read. */
  unref(): this
}

/** What a response keeps of the options of its read, with the defaults that it tells of. */
interface Asked extends Pick<StreamOptions, "parse" | "reviver" | "pauseWhenHidden" | "signal"> {
  url: string
  live: LiveMode
  offset: Offset | Checkpoint
}

export class StreamResponseImpl<TJson> implements StreamResponse<TJson> {
  readonly url: string
  readonly contentType?: string
  readonly live: LiveMode
  readonly startOffset: Offset
  readonly isLoading = false

  readonly #reader: Reader
  readonly #options: Asked
  readonly #handler: Handler
  readonly #release: (() => void)[] = []
  /** Made when somebody asks for it: most never do, and programs follow many streams at once. */
  #closed: Promise<void> | undefined
  #settleClosed: (() => void) | undefined
  #failure: { error: unknown } | undefined
  #consumer: string | undefined
  /** The last batch handed over, and how much of it. */
  #last: Batch | undefined
  #units: number | undefined
  #offset: Offset
  /** After the first answer, whether its data is handed over or not. */
  readonly #answered: Offset
  #upToDate: boolean
  #streamClosed: boolean
  #cursor: string | undefined
  #aborted: { reason: unknown } | undefined
  #ended = false

  constructor(options: Asked, reader: Reader, handler: Handler) {
    const { url, live, offset, signal } = options
    this.#options = options
    this.#reader = reader
    this.#handler = handler
    this.url = url
    this.live = live
    this.startOffset = typeof offset === "string" ? offset : offset.from
    const contentType = reader.contentType
    if (contentType !== null) {
      this.contentType = contentType
    }
    const position = reader.position
    this.#upToDate = position.upToDate ?? false
    this.#streamClosed = position.closed ?? false
    this.#cursor = position.cursor ?? undefined
    this.#answered = position.offset ?? this.startOffset
    // The tail has a name once the server has told it.
    this.#offset = this.startOffset === "now" ? this.#answered : this.startOffset
    if (signal !== undefined) {
      const abort = (): void => this.#abort(signal.reason)
      signal.addEventListener("abort", abort, { once: true })
      this.#release.push(() => signal.removeEventListener("abort", abort))
    }
    const unwatch = options.pauseWhenHidden === false ? undefined : watchVisibility(reader)
    if (unwatch !== undefined) {
      this.#release.push(unwatch)
    }
  }

  get headers(): Headers {
    return new Headers(this.#reader.headers)
  }

  get status(): number {
    return this.#reader.status ?? 0
  }

  get statusText(): string {
    return this.#reader.statusText ?? ""
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  get offset(): Offset {
    return this.#consumer === undefined ? this.#answered : this.#offset
  }

  get cursor(): string | undefined {
    return this.#cursor
  }

  get upToDate(): boolean {
    return this.#upToDate
  }

  get streamClosed(): boolean {
    return this.#streamClosed
  }

  get notModified(): boolean {
    return this.#reader.notModified
  }

  checkpoint(): Checkpoint {
    if (this.#last !== undefined) {
      return checkpointOf(this.#last, this.#units)
    }
    const { offset } = this.#options
    return typeof offset === "string" ? { from: this.#offset, skip: 0 } : offset
  }

  async body(): Promise<Uint8Array> {
    this.#consume("body")
    return (await this.#whole())?.bytes() ?? new Uint8Array(0)
  }

  async text(): Promise<string> {
    this.#consume("text")
    return (await this.#whole())?.text() ?? ""
  }

  async json<T = TJson>(): Promise<T[]> {
    this.#consume("json")
    this.#requireJson()
    let items: T[] = []
    for (let batch = await this.#next(); batch !== null; batch = await this.#next()) {
      const more = this.parse<T>(batch)
      if (items.length === 0) {
        items = more
      } else {
        for (const item of more) {
          items.push(item)
        }
      }
      this.handOver(batch)
      if (batch.upToDate) {
        break
      }
    }
    this.finish()
    return items
  }

  bodyStream(): ReadableStreamAsyncIterable<Uint8Array> {
    this.#consume("bodyStream")
    return this.#stream(new BatchIterator(this, (batch) => (batch.isEmpty ? undefined : batch.bytes())))
  }

  jsonStream(): ReadableStreamAsyncIterable<TJson> {
    this.#consume("jsonStream")
    this.#requireJson()
    return this.#stream(new ItemIterator<TJson>(this))
  }

  textStream(): ReadableStreamAsyncIterable<string> {
    this.#consume("textStream")
    const decode = this.#decoder()
    return this.#stream(new BatchIterator(this, (batch) => decode(batch) || undefined))
  }

  [Symbol.asyncIterator](): AsyncIterator<TJson> {
    this.#consume("for await")
    return this.#reader.isJson
      ? new ItemIterator<TJson>(this)
      : new BatchIterator(this, (batch) => (batch.isEmpty ? undefined : (batch.bytes() as TJson)))
  }

  subscribeJson<T = TJson>(subscriber: (batch: JsonBatch<T>) => MaybePromise<void>): () => void {
    this.#consume("subscribeJson")
    this.#requireJson()
    return this.#subscribe((batch) => subscriber(new Chunk(batch, this.#offset, { items: this.parse<T>(batch) })))
  }

  subscribeBytes(subscriber: (chunk: ByteChunk) => MaybePromise<void>): () => void {
    this.#consume("subscribeBytes")
    return this.#subscribe((batch) => subscriber(new Chunk(batch, this.#offset, { data: batch.bytes() })))
  }

  subscribeText(subscriber: (chunk: TextChunk) => MaybePromise<void>): () => void {
    this.#consume("subscribeText")
    const decode = this.#decoder()
    return this.#subscribe((batch) => subscriber(new Chunk(batch, this.#offset, { text: decode(batch) })))
  }

  cancel(_reason?: unknown): void {
    this.finish()
  }

  get closed(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = new Promise((resolve, reject) => {
        this.#settleClosed = () => (this.#failure === undefined ? resolve() : reject(this.#failure.error))
      })
      // Nobody has to look at it.
      this.#closed.catch(() => {})
      if (this.#ended) {
        this.#settleClosed?.()
      }
    }
    return this.#closed
  }

  ref(): this {
    this.#reader.setHold(true)
    return this
  }

  unref(): this {
    this.#reader.setHold(false)
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
  }

  /** The next batch; `null` at the end. */
  pull(): Promise<Batch | null> {
    try {
      const batch = this.#ended ? null : (this.#reader.nextNow() ?? this.#reader.next())
      return Promise.resolve(batch)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** What to throw in the place of an error that the reader threw, which ends the read. */
  refused(error: unknown): unknown {
    if (this.#aborted !== undefined) {
      return this.#aborted.reason
    }
    const failed = this.#handler.take(error)
    this.fail(failed)
    return failed
  }

  checkAborted(): void {
    if (this.#aborted !== undefined) {
      throw this.#aborted.reason
    }
  }

  parse<T>(batch: Batch): T[] {
    if (batch.isEmpty) {
      return []
    }
    const parsed = batch.parsed?.()
    if (parsed !== undefined) {
      return parsed as T[]
    }
    const { parse, reviver } = this.#options
    return (parse === undefined ? JSON.parse(batch.text(), reviver) : parse(batch.text())) as T[]
  }

  /** A batch is the caller's now, or so many units of it. */
  handOver(batch: Batch, units?: number): void {
    this.#last = batch
    this.#units = units
    if (units === undefined) {
      this.#offset = batch.offset ?? this.#offset
      this.#cursor = batch.cursor ?? this.#cursor
      this.#upToDate = batch.upToDate
      this.#streamClosed ||= batch.closed
    }
  }

  /** The read is over; the request, if there is one, is aborted. */
  finish(): void {
    this.#ended = true
    this.#reader.close()
    this.#release.splice(0).forEach((release) => release())
    this.#settleClosed?.()
  }

  /** As `finish`. An error after the end is nobody's. */
  fail(error: unknown): void {
    if (!this.#ended) {
      this.#failure = { error }
    }
    this.finish()
  }

  #abort(reason: unknown): void {
    this.#aborted = { reason }
    this.finish()
  }

  async #whole(): Promise<Batch | null> {
    const batch = await this.#await(this.#ended ? null : this.#reader.whole())
    if (batch !== null) {
      this.handOver(batch)
    }
    this.finish()
    return batch
  }

  #next(): Promise<Batch | null> {
    return this.#await(this.pull())
  }

  /** What the reader gives, unless the signal was aborted. */
  async #await(coming: Promise<Batch | null> | null): Promise<Batch | null> {
    let batch: Batch | null
    try {
      batch = await coming
    } catch (error) {
      throw this.refused(error)
    }
    this.checkAborted()
    return batch
  }

  #consume(method: string): void {
    if (this.#consumer !== undefined) {
      const message = `Cannot call ${method}() - this StreamResponse is already being consumed via ${this.#consumer}()`
      throw new DurableStreamError(message, "ALREADY_CONSUMED")
    }
    this.#consumer = method
  }

  #requireJson(): void {
    if (!this.#reader.isJson) {
      const message = `JSON methods are only valid for JSON-mode streams. Content-Type is "${this.contentType}" and json hint was not set.`
      throw new DurableStreamError(message, "BAD_REQUEST")
    }
  }

  /** Characters that two batches share come with the second one. */
  #decoder(): (batch: Batch) => string {
    const decoder = new TextDecoder()
    return (batch) => decoder.decode(batch.bytes(), { stream: !batch.closed })
  }

  #stream<T>(iterator: AsyncIterator<T>): ReadableStreamAsyncIterable<T> {
    const source: UnderlyingDefaultSource<T> = {
      pull: async (controller) => {
        const { done, value } = await iterator.next()
        if (done) {
          controller.close()
        } else {
          controller.enqueue(value)
        }
      },
      cancel: () => this.cancel(),
    }
    // Nothing is fetched ahead: what is in a queue would count as handed over.
    const stream = new ReadableStream<T>(source, { highWaterMark: 0 })
    return iteratedBy(stream, function () {
      // Iterating goes past the queue, and nobody else may read meanwhile.
      this.getReader()
      return iterator
    })
  }

  #subscribe(tell: (batch: Batch) => MaybePromise<void>): () => void {
    let subscribed = true
    const run = async (): Promise<void> => {
      try {
        for (let batch = await this.#next(); batch !== null && subscribed; batch = await this.#next()) {
          this.handOver(batch)
          await tell(batch)
        }
        this.finish()
      } catch (error) {
        if (subscribed && this.#aborted === undefined) {
          this.fail(error)
        } else {
          this.finish()
        }
      }
    }
    void run()
    return () => {
      subscribed = false
      this.cancel()
    }
  }
}
