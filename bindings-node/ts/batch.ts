import type { Batch } from "./backend.js"
import type { Checkpoint } from "./checkpoints.js"
import type { BatchMeta } from "./types.js"

/** Where a reader goes on after a batch, or after so many units of it. */
export function checkpointOf(batch: Batch, units?: number): Checkpoint {
  return JSON.parse(batch.checkpoint(units)) as Checkpoint
}

/** What a subscriber gets. */
interface ChunkOf extends BatchMeta {}

class ChunkOf {
  readonly #batch: Batch

  constructor(batch: Batch, before: string, content: object) {
    this.#batch = batch
    const { upToDate, closed, cursor } = batch
    const offset = batch.offset ?? before
    Object.assign(this, content, { offset, cursor: cursor ?? undefined, upToDate, streamClosed: closed })
  }

  get checkpoint(): Checkpoint {
    return checkpointOf(this.#batch)
  }
}

/** Metadata of a batch, and its content in the form that was asked for. */
export const Chunk = ChunkOf as new <T extends object>(batch: Batch, before: string, content: T) => BatchMeta & T
