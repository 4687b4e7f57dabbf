/** A real server in this process, for tests. */
import { backend, type NodeOnly } from "../backend.js"
import "../errors.js"

/** Options of {@link Server}; those of the official `DurableStreamTestServer` have their names and units. */
export interface ServerOptions {
  /** Default any free one. */
  port?: number
  /** Default `127.0.0.1`. */
  host?: string
  /** How long a long-poll waits, in ms. Default 30,000. */
  longPollTimeout?: number
  /** Whether answers are compressed for clients that offer it. Default true. */
  compression?: boolean
  /** Length of a cursor interval, in s. Default 20. */
  cursorIntervalSeconds?: number
  /** After this time an event stream ends, in ms. Default 60,000. */
  sseLifetime?: number
}

/** A server that keeps its streams in memory. */
export class Server {
  readonly #native: InstanceType<NodeOnly["Server"]>
  #url: string | undefined

  constructor(options: ServerOptions = {}) {
    const { port = 0, host, longPollTimeout, compression, cursorIntervalSeconds, sseLifetime } = options
    const cursorInterval = cursorIntervalSeconds === undefined ? undefined : cursorIntervalSeconds * 1000
    this.#native = new (backend as NodeOnly).Server({
      port,
      host,
      longPollTimeout,
      compression,
      cursorInterval,
      sseLifetime,
      faultInjection: true,
    })
  }

  /** Starts it; gives the base URL. */
  async start(): Promise<string> {
    this.#url = await this.#native.start()
    return this.#url
  }

  /** Stops it: live reads end, and its streams are gone. */
  async stop(): Promise<void> {
    await this.#native.stop()
    this.#url = undefined
  }

  /** The base URL, while it runs. */
  get url(): string {
    if (this.#url === undefined) {
      throw new Error("the server does not run: start it")
    }
    return this.#url
  }

  /** The URL of a stream. */
  streamUrl(name: string): string {
    const url = this.#native.streamUrl(name)
    if (url === null) {
      throw new Error("the server does not run: start it")
    }
    return url
  }

  /** Makes the next requests of a path fail; see `docs/node.md`. */
  injectFault(path: string, fault: object): void {
    if (!this.#native.injectFault(JSON.stringify({ path, ...fault }))) {
      throw new Error("the server does not run: start it")
    }
  }

  /** Takes back what {@link injectFault} set. */
  clearInjectedFaults(): void {
    this.#native.clearFaults()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
