import { backend, type Abort, type NodeOnly, type Subscriptions as Native } from "../backend.js"
import { carryPlainly } from "../carry.js"
import { MissingStreamUrlError } from "../errors.js"
import { nativeClient } from "../native-stream.js"
import { withSignals } from "../signal.js"
import { checkSignal } from "../stream.js"
import { Lease, type Making } from "./lease.js"
import type { CallOptions, NewSubscription, Subscription, SubscriptionsOptions, Wake } from "./types.js"
import { subscription } from "./values.js"
import { WebhookVerifier } from "./verifier.js"
import { Worker } from "./worker.js"

/** The subscriptions of a server, and the way to their work. Making it asks for nothing. */
export class Subscriptions {
  /** The stream root. */
  readonly url: string

  readonly #native: Native
  readonly #making: Making

  constructor(options: SubscriptionsOptions) {
    if (!options.url) {
      throw new MissingStreamUrlError()
    }
    checkSignal(options.signal)
    this.url = String(options.url)
    const { client, manner, handler, carried } = nativeClient({ ...options, url: this.url }, carryPlainly)
    this.#native = new (backend as NodeOnly).Subscriptions(client, this.url, manner)
    this.#making = { signal: options.signal, handler, carried }
  }

  /**
   * Creates a subscription, or confirms that it is there. What its streams hold already is not replayed.
   *
   * Rejects with `StreamExistsError` when the id has another configuration, and with `InvalidArgumentError` or
   * `BadRequestError` for options that cannot be used.
   */
  async create(id: string, options: NewSubscription): Promise<Subscription> {
    const { pattern, streams, wakeStream, webhook, leaseMs: lease, description, signal } = options
    const given = { pattern, streams: streams && [...streams], wakeStream, webhook, lease, description }
    return subscription(await this.#call(signal, (abort) => this.#native.create(id, given, abort)))
  }

  /** A subscription, with the cursor of each of its streams. Rejects with `StreamNotFoundError`. */
  async get(id: string, options: CallOptions = {}): Promise<Subscription> {
    return subscription(await this.#call(options.signal, (abort) => this.#native.get(id, abort)))
  }

  /** All subscriptions, without their streams, by id. Our servers can, others not. */
  async list(options: CallOptions = {}): Promise<Subscription[]> {
    return (await this.#call(options.signal, (abort) => this.#native.list(abort))).map(subscription)
  }

  /** Removes a subscription; one that is not there is no error. Its workers are told with their next call. */
  delete(id: string, options: CallOptions = {}): Promise<void> {
    return this.#call(options.signal, (abort) => this.#native.delete(id, abort))
  }

  /** Adds streams by path, from their tails on. */
  addStreams(id: string, paths: readonly string[], options: CallOptions = {}): Promise<void> {
    return this.#call(options.signal, (abort) => this.#native.addStreams(id, [...paths], abort))
  }

  /** Removes a stream that was added by path; one that is not there is no error. */
  removeStream(id: string, path: string, options: CallOptions = {}): Promise<void> {
    return this.#call(options.signal, (abort) => this.#native.removeStream(id, path, abort))
  }

  /**
   * Has the server sign webhooks with a new key, and gives its name. Keys before it are good for `overlapMs`, by default a
   * day; 0 ends a key that has leaked at once. Our servers can, others not.
   */
  rotateKey(options: CallOptions & { overlapMs?: number } = {}): Promise<string> {
    return this.#call(options.signal, (abort) => this.#native.rotateKey(options.overlapMs, abort))
  }

  /**
   * Takes the work of a pull-wake subscription, under a name for people to see; nothing when there is none, or another
   * worker has it. {@link worker} waits for it.
   */
  async claim(id: string, name: string, options: CallOptions = {}): Promise<Lease | undefined> {
    const lease = await this.#call(options.signal, (abort) => this.#native.claim(id, name, abort))
    return lease === null ? undefined : new Lease(lease, this.#making)
  }

  /**
   * A worker of a pull-wake subscription; `name` is for people to see. A `signal` ends its waits.
   *
   * Rejects with `StreamNotFoundError` when the subscription or its wake stream is not there, and with
   * `InvalidArgumentError` for a webhook.
   */
  async worker(id: string, name: string, options: CallOptions = {}): Promise<Worker> {
    const { signal } = options
    checkSignal(signal)
    const native = await this.#call(signal, (abort) => this.#native.worker(id, name, abort))
    return new Worker(native, id, name, this.#making, signal)
  }

  /**
   * The work of a webhook that was verified, to read, ack and finish it after it was answered with a 2xx that is not
   * `{"done":true}`. `wake` is what the verifier gave, or its `body`; `leaseMs` is the subscription's, which the webhook
   * does not say: 30,000 by default.
   */
  workOf(wake: Wake | string, options: { leaseMs?: number } = {}): Lease {
    const body = typeof wake === "string" ? wake : wake.body
    return new Lease(this.#native.workOf(body, options.leaseMs ?? 30_000), this.#making)
  }

  /**
   * Checks webhooks of this server. `subscription`: takes webhooks of this one only. `toleranceMs`: how old or how far
   * ahead a signature may be, 300,000 by default.
   */
  webhookVerifier(options: { subscription?: string; toleranceMs?: number } = {}): WebhookVerifier {
    return new WebhookVerifier(this.#native, options.subscription, options.toleranceMs, this.#making.signal)
  }

  async #call<T>(signal: AbortSignal | undefined, call: (abort?: Abort) => Promise<T>): Promise<T> {
    try {
      return await withSignals([this.#making.signal, signal], call)
    } catch (error) {
      throw this.#making.handler.take(error)
    }
  }
}
