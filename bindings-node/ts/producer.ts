import type { Abort, Delivery as NativeDelivery, Producer } from "./backend.js"
import { jsonText, stored } from "./data.js"
import { Delivery, Fate } from "./delivery.js"
import { AlreadyClosedError, DurableStreamError } from "./errors.js"
import type { DurableStream } from "./handle.js"
import { isPlainDocument, Lines } from "./lines.js"
import { nativeStream } from "./native-stream.js"
import { withSignals } from "./signal.js"
import type { CloseResult, FlushResult, IdempotentProducerOptions } from "./types.js"
import { event } from "./values.js"
import { whenLeaving } from "./visibility.js"

/**
 * Appends messages so that each is stored exactly once, in order, whatever the network does.
 *
 * Messages are batched, batches pipelined, and sent again under the same identity until the server has answered for them.
 * What is not stored in the end is told by the receipt, by `onError` and by the next {@link flush}.
 */
export class IdempotentProducer {
  readonly #native: Producer
  readonly #signal: AbortSignal | undefined
  /** Of the message before. */
  #fate: Fate | undefined
  /** Whether the stream is known to be JSON. */
  #json = false
  /** What came in this turn of the event loop after a first message, which crosses alone. */
  #lines: Lines | undefined
  readonly #longest: number
  #stopped: { reason: unknown } | undefined
  #closing = false
  #release: (() => void) | undefined
  readonly #unwatch: (() => void) | undefined

  /** Makes no request by itself; what the stream is gets asked for with the first message, if it is not known. */
  constructor(stream: DurableStream, producerId: string, options: IdempotentProducerOptions = {}) {
    const { headers, signal, onError } = options
    const settings = stream._settings(options.fetch)
    const { stream: native, carried } = nativeStream({
      ...settings,
      headers: { ...settings.headers, ...headers },
    })
    const given = {
      epoch: options.epoch,
      autoClaim: options.autoClaim,
      // Who gives a `fetch` counts its calls.
      askTail: !carried,
      lingerMs: options.lingerMs,
      maxBatchBytes: options.maxBatchBytes,
      maxBatchItems: options.maxBatchItems,
      maxInFlight: options.maxInFlight,
      maxBufferedBytes: options.maxBufferedBytes,
      deliveryTimeout: options.deliveryTimeoutMs,
      requestTimeout: options.timeoutMs,
    }
    const failed = onError && event((error: Error) => this.#stopped ?? onError(error))
    this.#native = native.producer(producerId, given, failed)
    this.#longest = Lines.longest(options.maxBufferedBytes)
    this.#unwatch = whenLeaving(this.#native)
    this.#signal = signal
    if (signal !== undefined) {
      this.#watch(signal, onError)
    }
  }

  /**
   * Takes a message and gives its receipt, which nobody has to await. Text and bytes go as they are, and are one JSON
   * document on a JSON stream; any other value is JSON-encoded there. Beyond `maxBufferedBytes` messages wait for space in
   * their order; {@link send} waits with them.
   */
  append(body: Uint8Array | string | object | number | boolean | null): Delivery {
    if (typeof body === "string") {
      return this.#append(body, false)
    }
    const { data, json } = stored(body)
    return this.#append(data, json)
  }

  /** Takes any value as one JSON message. */
  appendJson(value: unknown): Delivery {
    return this.#append(jsonText(value), true)
  }

  /** Takes a message, or throws `BufferFullError` where {@link append} would have it wait. */
  tryAppend(body: Uint8Array | string | object | number | boolean | null): Delivery {
    const { data, json } = stored(body)
    this.#check()
    this.#cross()
    return new Delivery(new Fate(this.#native.tryAppend(data, json)))
  }

  /** Takes a message once there is space for it; the promise gives its receipt, still on its way. */
  async send(body: Uint8Array | string | object | number | boolean | null): Promise<{ delivery: Delivery }> {
    const delivery = this.append(body)
    this.#cross()
    if (this.#native.isFull) {
      await this.#call((abort) => this.#native.ready(abort))
    }
    return { delivery }
  }

  /**
   * Sends what is there and waits until every message appended so far is settled. Rejects when any message since the
   * flush before was not stored; `failures` of the error lists them.
   */
  async flush(): Promise<FlushResult> {
    this.#cross()
    const { offset, messages, duplicates } = await this.#call((abort) => this.#native.flush(abort))
    return { offset, messages, duplicates }
  }

  /**
   * Sends what is there, then closes the stream for everyone, with a last message in the same step if one is given. A
   * second call gives the first result.
   */
  async close(finalMessage?: Uint8Array | string): Promise<CloseResult> {
    this.#cross()
    this.#closing = true
    const closed = await this.#call((abort) => this.#native.close(finalMessage, abort))
    this.#release?.()
    this.#unwatch?.()
    return { finalOffset: closed.offset ?? "" }
  }

  /** The same as {@link close}. */
  closeStream(finalMessage?: Uint8Array | string): Promise<CloseResult> {
    return this.close(finalMessage)
  }

  /** Flushes and takes no more messages; the stream stays open. Rejects as {@link flush}. */
  async detach(): Promise<void> {
    if (this.#closing) {
      return
    }
    this.#cross()
    this.#closing = true
    try {
      await this.#native.detach()
    } finally {
      this.#release?.()
      this.#unwatch?.()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach()
  }

  /** Flushes, then starts anew under the next epoch. */
  async restart(): Promise<void> {
    this.#cross()
    await this.#native.restart()
  }

  get epoch(): number {
    return this.#native.epoch
  }

  /** Number of the next batch. */
  get nextSeq(): number {
    this.#cross()
    return this.#native.nextSeq
  }

  /** Messages that are not settled yet. */
  get pendingCount(): number {
    this.#cross()
    return this.#native.pendingCount
  }

  /** Batches under way. */
  get inFlightCount(): number {
    this.#cross()
    return this.#native.inFlightCount
  }

  /** Bytes of messages that are not settled yet. */
  get bufferedBytes(): number {
    this.#cross()
    return this.#native.bufferedBytes
  }

  /** The last offset that an answer named. */
  get lastSuccessfulOffset(): string | undefined {
    return this.#native.lastOffset ?? undefined
  }

  #append(data: string | Uint8Array, json: boolean): Delivery {
    this.#check()
    const lines = this.#lines
    if (lines !== undefined && typeof data === "string" && data.length <= this.#longest && (json || isPlainDocument(data))) {
      const delivery = lines.add(data)
      if (lines.isFull) {
        this.#cross()
      }
      return delivery
    }
    this.#cross()
    const delivery = new Delivery(this.#settledBy(this.#native.append(data, json)))
    if (lines === undefined && this.#json) {
      this.#gather()
    }
    return delivery
  }

  /** Has what comes before the next turn of the event loop cross together. */
  #gather(): void {
    this.#lines = this.#newLines()
    // Not queueMicrotask, which tests replace to hold time.
    void Promise.resolve().then(() => {
      this.#cross()
      this.#lines = undefined
    })
  }

  #newLines(): Lines {
    return new Lines(() => this.#cross())
  }

  /** Hands over what waits on this side. */
  #cross(): void {
    const lines = this.#lines
    if (lines === undefined || lines.isEmpty) {
      return
    }
    this.#lines = this.#newLines()
    const { refused } = lines.take(
      (text) => this.#native.appendLines(text),
      (delivery) => this.#settledBy(delivery),
    )
    if (refused) {
      // What comes next is refused at the call.
      this.#lines = undefined
    }
  }

  /** The fate of a message, whose delivery may be that of the message before. */
  #settledBy(delivery: NativeDelivery | null): Fate {
    if (delivery !== null || this.#fate === undefined) {
      // The first message always has a delivery of its own.
      this.#fate = new Fate(delivery!)
      this.#json ||= this.#native.isJson
    }
    return this.#fate
  }

  #check(): void {
    if (this.#stopped !== undefined) {
      throw this.#stopped.reason
    }
    if (this.#closing) {
      throw new AlreadyClosedError("Producer is closed", "ALREADY_CLOSED")
    }
  }

  #call<T>(call: (abort?: Abort) => Promise<T>): Promise<T> {
    return withSignals([this.#signal], call)
  }

  #watch(signal: AbortSignal, onError: ((error: Error) => void) | undefined): void {
    const stop = (): void => {
      this.#stopped = { reason: signal.reason }
      const pending = this.pendingCount > 0
      this.#native.abort()
      if (pending) {
        onError?.(new DurableStreamError("Producer aborted", "ALREADY_CLOSED"))
      }
    }
    if (signal.aborted) {
      stop()
      return
    }
    signal.addEventListener("abort", stop, { once: true })
    this.#release = () => signal.removeEventListener("abort", stop)
  }
}

