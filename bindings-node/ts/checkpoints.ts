import { backend } from "./backend.js"

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

/** A checkpoint in a file, which is replaced as a whole: a crash leaves the one before or the one after. */
export class CheckpointFile implements CheckpointStore {
  /** `stream` is what the checkpoint belongs to, such as its URL; the file of another one is refused. */
  constructor(
    readonly path: string,
    readonly stream: string,
  ) {}

  async load(): Promise<Checkpoint | undefined> {
    const json = await backend.loadCheckpoint(this.path, this.stream)
    return json === null ? undefined : (JSON.parse(json) as Checkpoint)
  }

  async store(checkpoint: Checkpoint): Promise<void> {
    await backend.storeCheckpoint(this.path, this.stream, JSON.stringify(checkpoint))
  }
}
