import type { Lease as Native } from "../backend.js"
import { StreamResponseImpl, type StreamResponse } from "../response.js"
import { withSignals } from "../signal.js"
import type { Handler } from "../values.js"
import type { CallOptions, LinkedStream, Offsets } from "./types.js"
import { linked, pathOf } from "./values.js"

/** What leases have of those who made them. @internal */
export interface Making {
  signal: AbortSignal | undefined
  handler: Handler
  /** Whether requests go by `fetch`. */
  carried: boolean
}

/**
 * The right to work on what a subscription has pending. No other worker has it until this one is silent for the time of the
 * lease: heartbeats in the background tell the server that it is not, as long as this object is in use.
 *
 * Work is given at least once: what was done and not acked, because the worker died or its lease ended, is given again.
 * `await using` gives it back at the end of the block, unless it was finished.
 */
export class Lease implements AsyncDisposable {
  readonly subscriptionId: string
  /** Names the wake. */
  readonly wakeId: string
  /** The fencing number: give it to what must not take the writes of a late worker. */
  readonly generation: number
  /**
   * The streams, with cursors and tails; those with something new first. At most 1,000: what does not fit comes with the
   * next wake.
   */
  readonly streams: readonly LinkedStream[]

  readonly #native: Native
  readonly #making: Making
  #lost: AbortController | undefined

  /** @internal */
  constructor(native: Native, making: Making) {
    const { subscriptionId, wakeId, generation, streams } = native.info()
    this.subscriptionId = subscriptionId
    this.wakeId = wakeId
    this.generation = generation
    this.streams = linked(streams)
    this.#native = native
    this.#making = making
  }

  /** The streams that have something new. */
  get pending(): readonly LinkedStream[] {
    return this.streams.filter((stream) => stream.hasPending)
  }

  /** Whether the server said that the lease is over, as heartbeats are told: stop working. */
  get isLost(): boolean {
    return this.#native.isLost
  }

  /** Whether it was finished or released. */
  get isOver(): boolean {
    return this.#native.isOver
  }

  /** Aborted, with a `LeaseLostError`, when the server says that the lease is over: give it to the work. */
  get signal(): AbortSignal {
    if (this.#lost === undefined) {
      const lost = (this.#lost = new AbortController())
      void this.#native.ended().then((error) => error !== null && lost.abort(error))
    }
    return this.#lost.signal
  }

  /** Reads one of the streams, from its cursor to the tail. The response's `offset` is what to ack. */
  async read<TJson = unknown>(stream: LinkedStream | string, options: CallOptions = {}): Promise<StreamResponse<TJson>> {
    const { handler, carried } = this.#making
    const path = pathOf(stream)
    const { signal } = options
    const reader = await this.#call(signal, (abort) => this.#native.read(path, !carried, abort))
    const offset = this.streams.find((it) => it.path === path)?.ackedOffset ?? "-1"
    const url = this.#native.streamUrl(path)
    return new StreamResponseImpl<TJson>({ url, live: false, offset, ...(signal && { signal }) }, reader, handler)
  }

  /**
   * Stores how far streams are processed, and begins the lease anew.
   *
   * Rejects with `LeaseLostError` when the lease is over: stop, and discard what was done where that is possible. With
   * `InvalidOffsetError` for an offset before the cursor or beyond the tail; none of them was stored then.
   */
  ack(offsets: Offsets, options: CallOptions = {}): Promise<void> {
    return this.#call(options.signal, (abort) => this.#native.ack({ ...offsets }, abort))
  }

  /**
   * Stores the last offsets and gives the lease back, in one step; whether there is more to do. What is not acked stays
   * pending, and is given again. Rejects as {@link ack}; after a `LeaseLostError` with `outcomeUnknown` the offsets may be
   * stored.
   */
  finish(offsets: Offsets = {}, options: CallOptions = {}): Promise<boolean> {
    return this.#call(options.signal, (abort) => this.#native.finish({ ...offsets }, abort))
  }

  /**
   * Gives the work back undone, so that another worker can have it at once. A lease that is over is no error. That of a
   * webhook ends by itself.
   */
  release(options: CallOptions = {}): Promise<void> {
    return this.#call(options.signal, (abort) => this.#native.release(abort))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isOver) {
      await this.release()
    }
  }

  async #call<T>(signal: AbortSignal | undefined, call: Parameters<typeof withSignals<T>>[1]): Promise<T> {
    try {
      return await withSignals([this.#making.signal, signal], call)
    } catch (error) {
      throw this.#making.handler.take(error)
    }
  }
}
