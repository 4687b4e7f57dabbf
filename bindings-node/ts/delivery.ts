import type { Delivery as NativeDelivery } from "./backend.js"
import type { IdempotentAppendResult } from "./types.js"

/** Where receipts are asked for. */
export interface Receipts {
  receipt(message: number): Promise<IdempotentAppendResult>
}

/** What the messages of one batch have in common: nobody asks for it, or one promise answers all of them. */
export class Fate implements Receipts {
  #promise: Promise<IdempotentAppendResult> | undefined

  constructor(private readonly native: NativeDelivery) {}

  receipt(): Promise<IdempotentAppendResult> {
    return (this.#promise ??= this.native.wait())
  }
}

/**
 * The receipt of a message that is on its way: a promise that nobody has to await. It exists only once somebody asks for
 * it, so a failure that nobody asks for is no unhandled rejection; `flush` and `onError` tell of it.
 */
export class Delivery implements Promise<IdempotentAppendResult> {
  readonly #receipts: Receipts
  readonly #message: number

  constructor(receipts: Receipts, message = 0) {
    this.#receipts = receipts
    this.#message = message
  }

  get [Symbol.toStringTag](): string {
    return "Promise"
  }

  then<A = IdempotentAppendResult, B = never>(
    onfulfilled?: ((value: IdempotentAppendResult) => A | PromiseLike<A>) | null,
    onrejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#promise().then(onfulfilled, onrejected)
  }

  catch<B = never>(onrejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<IdempotentAppendResult | B> {
    return this.#promise().catch(onrejected)
  }

  finally(onfinally?: (() => void) | null): Promise<IdempotentAppendResult> {
    return this.#promise().finally(onfinally)
  }

  #promise(): Promise<IdempotentAppendResult> {
    return this.#receipts.receipt(this.#message)
  }
}
