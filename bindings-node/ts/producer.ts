import type { Abort, Producer } from "./backend.js"
import { jsonText, stored } from "./data.js"
import { Delivery, Fate } from "./delivery.js"
import { AlreadyClosedError, DurableStreamError } from "./errors.js"
import type { DurableStream } from "./handle.js"
import { nativeStream } from "./native-stream.js"
import { withSignals } from "./signal.js"
import type { CloseResult, FlushResult, IdempotentProducerOptions } from "./types.js"
import { event } from "./values.js"

/**
 * Appends messages so that each is stored exactly once, in order, whatever the network does.
 *
 * Messages are batched, batches pipelined, and sent again under the same identity until the server has answered for them.
 * What is not stored in the end is told by the receipt, by `onError` and by the next {@link flush}.
 */
export class IdempotentProducer {
  readonly #native: Producer
  readonly #signal: AbortSignal | undefined
  #fate: Fate | undefined
  #stopped: { reason: unknown } | undefined
  #closing = false
  #release: (() => void) | undefined

  /** Makes no request by itself; what the stream is gets asked for with the first message, if it is not known. */
  constructor(stream: DurableStream, producerId: string, options: IdempotentProducerOptions = {}) {
    const { headers, signal, onError } = options
    const settings = stream._settings(options.fetch)
    const { stream: native } = nativeStream({
      ...settings,
      headers: { ...settings.headers, ...headers },
    })
    const given = {
      epoch: options.epoch,
      autoClaim: options.autoClaim,
      lingerMs: options.lingerMs,
      maxBatchBytes: options.maxBatchBytes,
      maxBatchItems: options.maxBatchItems,
      maxInFlight: options.maxInFlight,
      maxBufferedBytes: options.maxBufferedBytes,
      deliveryTimeout: options.deliveryTimeoutMs,
      requestTimeout: options.timeoutMs,
    }
    this.#native = native.producer(producerId, given, onError && event(onError))
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
    return new Delivery(new Fate(this.#native.tryAppend(data, json)))
  }

  /** Takes a message once there is space for it; the promise gives its receipt, still on its way. */
  async send(body: Uint8Array | string | object | number | boolean | null): Promise<{ delivery: Delivery }> {
    const delivery = this.append(body)
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
    const { offset, messages, duplicates } = await this.#call((abort) => this.#native.flush(abort))
    return { offset, messages, duplicates }
  }

  /**
   * Sends what is there, then closes the stream for everyone, with a last message in the same step if one is given. A
   * second call gives the first result.
   */
  async close(finalMessage?: Uint8Array | string): Promise<CloseResult> {
    this.#closing = true
    const closed = await this.#call((abort) => this.#native.close(finalMessage, abort))
    this.#release?.()
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
    this.#closing = true
    try {
      await this.#native.detach()
    } finally {
      this.#release?.()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach()
  }

  /** Flushes, then starts anew under the next epoch. */
  async restart(): Promise<void> {
    await this.#native.restart()
  }

  get epoch(): number {
    return this.#native.epoch
  }

  /** Number of the next batch. */
  get nextSeq(): number {
    return this.#native.nextSeq
  }

  /** Messages that are not settled yet. */
  get pendingCount(): number {
    return this.#native.pendingCount
  }

  /** Batches under way. */
  get inFlightCount(): number {
    return this.#native.inFlightCount
  }

  /** Bytes of messages that are not settled yet. */
  get bufferedBytes(): number {
    return this.#native.bufferedBytes
  }

  /** The last offset that an answer named. */
  get lastSuccessfulOffset(): string | undefined {
    return this.#native.lastOffset ?? undefined
  }

  #append(data: string | Uint8Array, json: boolean): Delivery {
    this.#check()
    const delivery = this.#native.append(data, json)
    if (delivery !== null || this.#fate === undefined) {
      // The first message always has a delivery of its own.
      this.#fate = new Fate(delivery!)
    }
    return new Delivery(this.#fate)
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
      if (this.#native.pendingCount > 0) {
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

