/** A read as a store that can be subscribed to: what user interfaces have in common. */
import { DurableStreamError, stream, type Checkpoint, type Offset, type StreamOptions, type StreamResponse } from "./index.js"

/**
 * How far a read is: not begun, asking for the first answer, behind the tail, at the tail, at the end of the stream (or at
 * the tail, when it is not live), or failed.
 */
export type StreamState = "idle" | "connecting" | "catching-up" | "live" | "ended" | "failed"

/** What there is to show. A new object whenever something has changed. */
export interface StreamView<T> {
  /** All messages so far, or the last `keep` of them; bytes of a stream that is not JSON in pieces. */
  readonly items: readonly T[]
  /** The offset after the last item. */
  readonly offset: Offset | undefined
  /** Exactly where to go on after the last item. */
  readonly checkpoint: Checkpoint | undefined
  readonly state: StreamState
  /** Why it failed. */
  readonly error: Error | undefined
  /** Goes on after a failure, from the last item. */
  readonly retry: () => void
}

/** Options of {@link StreamStore}. */
export interface StoreOptions extends Omit<StreamOptions, "url" | "signal"> {
  /** How many items to keep; older ones are dropped. Default all. */
  keep?: number
}

/** Reads while somebody is subscribed, and goes on from where it was when somebody is again. */
export class StreamStore<T = unknown> {
  readonly #url: string | URL
  readonly #options: StoreOptions
  readonly #subscribers = new Set<() => void>()
  #view: StreamView<T>
  #pending: T[] = []
  #place: { offset: Offset; checkpoint: Checkpoint } | undefined
  #read: AbortController | undefined
  #told = false

  constructor(url: string | URL, options: StoreOptions = {}) {
    this.#url = url
    this.#options = options
    const retry = (): void => this.#retry()
    this.#view = { items: [], offset: undefined, checkpoint: undefined, state: "idle", error: undefined, retry }
  }

  get view(): StreamView<T> {
    return this.#view
  }

  /** Has a function called after each change; gives a function that ends that. */
  subscribe(changed: () => void): () => void {
    this.#subscribers.add(changed)
    if (this.#read === undefined && this.#view.state !== "ended" && this.#view.state !== "failed") {
      this.#begin()
    }
    return () => {
      this.#subscribers.delete(changed)
      if (this.#subscribers.size === 0) {
        this.#stop()
      }
    }
  }

  #begin(): void {
    const read = new AbortController()
    this.#read = read
    this.#change({ state: "connecting", error: undefined })
    this.#run(read.signal).catch((error: unknown) => {
      if (this.#read === read) {
        this.#read = undefined
        this.#show()
        const failed = error instanceof Error ? error : new DurableStreamError(String(error), "UNKNOWN")
        this.#change({ state: "failed", error: failed })
      }
    })
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { keep: _keep, ...options } = this.#options
    const offset = this.#place?.checkpoint ?? options.offset
    const response = await stream<T>({ ...options, offset, url: this.#url, signal })
    if (!signal.aborted) {
      this.#change({ state: "catching-up" })
    }
    await this.#take(response, signal)
    if (!signal.aborted) {
      this.#read = undefined
      this.#show()
      this.#change({ state: "ended" })
    }
  }

  /** Until the read is over. Changes are shown once for all that comes at a time. */
  async #take(response: StreamResponse<T>, signal: AbortSignal): Promise<void> {
    const taken = (items: readonly T[], { offset, checkpoint, upToDate }: Taken): void => {
      if (signal.aborted) {
        return
      }
      for (const item of items) {
        this.#pending.push(item)
      }
      this.#place = { offset, checkpoint }
      if (upToDate && this.#view.state !== "live") {
        this.#show()
        this.#change({ state: "live" })
      }
      this.#showSoon()
    }
    if (isJson(response, this.#options)) {
      response.subscribeJson<T>((batch) => taken(batch.items, batch))
    } else {
      response.subscribeBytes((chunk) => taken(chunk.data.length > 0 ? [chunk.data as T] : [], chunk))
    }
    await response.closed
  }

  #showSoon(): void {
    if (this.#told) {
      return
    }
    this.#told = true
    setTimeout(() => {
      this.#told = false
      this.#show()
    }, FRAME_MS)
  }

  /** What has come so far is in the view. */
  #show(): void {
    if (this.#place === undefined || this.#place.checkpoint === this.#view.checkpoint) {
      return
    }
    const { keep } = this.#options
    let { items } = this.#view
    if (this.#pending.length > 0) {
      items = items.concat(this.#pending)
      this.#pending = []
    }
    if (keep !== undefined && items.length > keep) {
      items = items.slice(items.length - keep)
    }
    this.#change({ items, ...this.#place })
  }

  #stop(): void {
    this.#read?.abort()
    this.#read = undefined
    // Unseen, so that nobody has to be told.
    if (this.#view.state !== "ended" && this.#view.state !== "failed") {
      this.#change({ state: "idle" })
    }
  }

  #retry(): void {
    if (this.#view.state === "failed" && this.#subscribers.size > 0) {
      this.#begin()
    }
  }

  #change(change: Partial<StreamView<T>>): void {
    this.#view = { ...this.#view, ...change }
    this.#subscribers.forEach((changed) => changed())
  }
}

/** Where a batch leaves the reader. */
interface Taken {
  offset: Offset
  checkpoint: Checkpoint
  upToDate: boolean
}

/** Nothing is drawn more often. */
const FRAME_MS = 16

function isJson(response: StreamResponse, options: StoreOptions): boolean {
  return options.json === true || /^application\/json\b/i.test(response.contentType ?? "")
}
