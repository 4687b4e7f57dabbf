import type { Offset, RequestOptions } from "../types.js"

/** Options of {@link Subscriptions}; `url` is the stream root, such as `http://127.0.0.1:4437/v1/stream`. */
export type SubscriptionsOptions = RequestOptions

/** What every call takes. */
export interface CallOptions {
  /** Gives the call up; it rejects with the signal's `reason`. */
  signal?: AbortSignal
}

/** How far streams are processed: an offset that a read gave, by path. */
export type Offsets = Readonly<Record<string, Offset>>

/** What a new subscription is to be: `pattern` or `streams` must be there, and either `wakeStream` or `webhook`. */
export interface NewSubscription extends CallOptions {
  /** Streams by pattern: `*` is one segment, `**` any number of them. */
  pattern?: string
  /** Streams by path below the stream root. */
  streams?: readonly string[]
  /** Makes it pull-wake: the stream that gets an event for each wake. You create it, as JSON. */
  wakeStream?: string
  /** Makes it a webhook: where the server sends its POSTs. */
  webhook?: string
  /** How long a worker may be silent, in ms: 1,000 to 600,000. Default is the server's, 30,000. */
  leaseMs?: number
  /** Text for people. */
  description?: string
}

/** A stream of a subscription. */
export interface LinkedStream {
  /** Below the stream root. */
  readonly path: string
  /** Whether it was named, or fits the pattern. */
  readonly linkType: "explicit" | "glob"
  /** Up to where it is processed; `"-1"` is the beginning. */
  readonly ackedOffset: Offset
  /** Its tail, where the server says it. */
  readonly tailOffset?: Offset
  /** Whether there is something after `ackedOffset`. */
  readonly hasPending: boolean
}

/** A subscription, as the server shows it. */
export interface Subscription {
  readonly id: string
  readonly type: "pull-wake" | "webhook"
  /** Of a pull-wake subscription. */
  readonly wakeStream?: string
  /** Of a webhook: its URL. */
  readonly webhook?: string
  readonly pattern?: string
  readonly streams: readonly LinkedStream[]
  /** How long a worker may be silent. */
  readonly leaseMs: number
  /** `failed` while a webhook that failed waits for its next try. */
  readonly status: "active" | "failed"
  /** RFC 3339. */
  readonly createdAt?: string
  readonly description?: string
  /** Of a create: whether it is new; `false` when one with the same configuration was there already. */
  readonly created?: boolean
}

/** The content of a webhook that was verified. */
export interface Wake {
  readonly subscriptionId: string
  readonly wakeId: string
  /** The fencing number: a later wake has a higher one. */
  readonly generation: number
  readonly streams: readonly LinkedStream[]
  /** Where acks and heartbeats go. */
  readonly callbackUrl: string
  /** What they show: a secret for the time of the wake. */
  readonly callbackToken: string
  /** The body as it came. {@link Subscriptions.workOf} takes it too: a queue can carry it to whoever does the work. */
  readonly body: string
}
