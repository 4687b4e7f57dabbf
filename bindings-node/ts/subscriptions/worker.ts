import type { Worker as Native } from "../backend.js"
import { withSignals } from "../signal.js"
import { Lease, type Making } from "./lease.js"
import type { CallOptions } from "./types.js"

/**
 * Waits for the work of a pull-wake subscription: `for await (const lease of worker)`. Made by
 * {@link Subscriptions.worker}.
 *
 * Any number of workers may share a subscription; each wake goes to one of them. Asking for the next work gives the one
 * before back, unless it was finished or released. One that waits keeps the process alive.
 */
export class Worker implements AsyncIterable<Lease>, AsyncDisposable {
  readonly #native: Native
  readonly #making: Making
  readonly #signal: AbortSignal | undefined

  /** @internal */
  constructor(
    native: Native,
    /** The subscription. */
    readonly subscriptionId: string,
    /** For people to see. */
    readonly name: string,
    making: Making,
    signal: AbortSignal | undefined,
  ) {
    this.#native = native
    this.#making = making
    this.#signal = signal
  }

  /**
   * The next work, as soon as there is some; nothing once the worker is closed. An error does not end the worker: the next
   * call goes on. Rejects with `StreamNotFoundError` when the subscription or its wake stream is gone, and with the reason
   * of a signal that is aborted.
   */
  async next(options: CallOptions = {}): Promise<Lease | undefined> {
    const signals = [this.#making.signal, this.#signal, options.signal]
    try {
      const lease = await withSignals(signals, async (abort) => {
        const lease = await this.#native.next(abort)
        if (lease !== null && signals.some((signal) => signal?.aborted)) {
          // Nobody hears of it any more.
          lease.abandon()
        }
        return lease
      })
      return lease === null ? undefined : new Lease(lease, this.#making)
    } catch (error) {
      throw this.#making.handler.take(error)
    }
  }

  /** Takes no more work, and ends the wait for it. A lease that was handed over goes on. */
  close(): void {
    this.#native.close()
  }

  /** The work as it comes, until the worker is closed. Leaving the loop does not close it. */
  [Symbol.asyncIterator](): AsyncIterator<Lease> {
    return {
      next: async () => {
        const lease = await this.next()
        return lease === undefined ? { done: true, value: undefined } : { done: false, value: lease }
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }
}
