import type { Subscriptions as Native, WebhookVerifier as NativeVerifier } from "../backend.js"
import { backend, type NodeOnly } from "../backend.js"
import { withSignals } from "../signal.js"
import type { CallOptions, Wake } from "./types.js"
import { linked } from "./values.js"

/**
 * Tells whether a webhook is from the server. Made by {@link Subscriptions.webhookVerifier}; share one among all requests.
 *
 * The keys are those of the server that the program names, whatever the webhook says.
 */
export class WebhookVerifier {
  readonly #native: NativeVerifier
  readonly #signal: AbortSignal | undefined

  /** @internal */
  constructor(subscriptions: Native, subscription?: string, toleranceMs?: number, signal?: AbortSignal) {
    this.#native = new (backend as NodeOnly).WebhookVerifier(subscriptions, subscription, toleranceMs)
    this.#signal = signal
  }

  /**
   * The content of a webhook, if it is genuine. `signature` is the header `Webhook-Signature`, nothing when there is none;
   * `body` is the raw body.
   *
   * Rejects with `InvalidSignatureError`: answer 401. With any other error the keys could not be fetched: answer 503, and
   * the server tries again.
   */
  async verify(
    signature: string | readonly string[] | null | undefined,
    body: string | Uint8Array,
    options?: CallOptions,
  ): Promise<Wake> {
    // One that is there twice is none: its form has no room for a second.
    const header = typeof signature === "string" ? signature : (signature ?? []).join(", ")
    const verified = await withSignals([this.#signal, options?.signal], (abort) => this.#native.verify(header, body, abort))
    return { ...verified, streams: linked(verified.streams) }
  }
}
