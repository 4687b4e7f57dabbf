import { backend, type NodeOnly } from "./backend.js"
import { DurableStreamError } from "./errors.js"
import type { MaybePromise } from "./types.js"

/** Exactly where a reader is: an offset, and how far into the answer that starts there. Its JSON form can be stored. */
export interface Checkpoint {
  /** Where to ask again. */
  readonly from: string
  /** Messages (JSON) or bytes after `from` that were handed over already. */
  readonly skip: number
  /** Which incarnation of the stream it belongs to, where the server tells. */
  readonly incarnation?: string
}

/** Keeps the checkpoint of one stream. */
export interface CheckpointStore {
  load(): Promise<Checkpoint | undefined>
  store(checkpoint: Checkpoint): Promise<void>
}

/**
 * A checkpoint in a file, which is replaced as a whole: a crash leaves the one before or the one after. For Node; a page
 * has {@link CheckpointStorage}.
 */
export class CheckpointFile implements CheckpointStore {
  /** `stream` is what the checkpoint belongs to, such as its URL; the file of another one is refused. */
  constructor(
    readonly path: string,
    readonly stream: string,
  ) {}

  async load(): Promise<Checkpoint | undefined> {
    const json = await files("loadCheckpoint")(this.path, this.stream)
    return json === null ? undefined : (JSON.parse(json) as Checkpoint)
  }

  async store(checkpoint: Checkpoint): Promise<void> {
    await files("storeCheckpoint")(this.path, this.stream, JSON.stringify(checkpoint))
  }
}

function files<Name extends "loadCheckpoint" | "storeCheckpoint">(name: Name): NodeOnly[Name] {
  const call = backend[name]
  if (call === undefined) {
    throw new DurableStreamError("there are no files here: use CheckpointStorage", "NOT_SUPPORTED")
  }
  return call as NodeOnly[Name]
}

/**
 * What {@link CheckpointStorage} keeps checkpoints in: `localStorage`, `sessionStorage`, or what is like them and may take
 * time, as what is kept in IndexedDB does.
 */
export interface KeyValues {
  getItem(key: string): MaybePromise<string | null>
  setItem(key: string, value: string): MaybePromise<unknown>
}

/** A checkpoint in the browser's storage, under a key of the stream's. */
export class CheckpointStorage implements CheckpointStore {
  readonly #storage: KeyValues

  /**
   * `stream` is what the checkpoint belongs to, such as its URL. `storage` is `localStorage` by default, which all tabs
   * of an origin share; readers that are to remember different places need different names.
   */
  constructor(
    readonly stream: string,
    storage?: KeyValues,
  ) {
    const found = storage ?? (globalThis as { localStorage?: Storage }).localStorage
    if (found === undefined) {
      throw new DurableStreamError("there is no localStorage here: give a storage", "NOT_SUPPORTED")
    }
    this.#storage = found
  }

  /** What is stored and is no checkpoint is refused with `INVALID_ARGUMENT`. */
  async load(): Promise<Checkpoint | undefined> {
    const json = await this.#storage.getItem(this.#key)
    return json === null ? undefined : (JSON.parse(backend.checkCheckpoint(json)) as Checkpoint)
  }

  async store(checkpoint: Checkpoint): Promise<void> {
    await this.#storage.setItem(this.#key, JSON.stringify(checkpoint))
  }

  get #key(): string {
    return `everstream:checkpoint:${this.stream}`
  }
}
