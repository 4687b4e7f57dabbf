/** Iterating a read. Ending the loop aborts the request at once. */
import type { Batch } from "./backend.js"

/** What iterators need of a read. */
interface Source {
  pull(): Promise<Batch | null>
  refused(error: unknown): unknown
  checkAborted(): void
  parse<T>(batch: Batch): T[]
  handOver(batch: Batch, units?: number): void
  finish(): void
  fail(error: unknown): void
}

const NONE: readonly never[] = []

abstract class ReadIterator<T> implements AsyncIterableIterator<T> {
  constructor(protected readonly source: Source) {}

  abstract next(): Promise<IteratorResult<T>>

  return(value?: unknown): Promise<IteratorResult<T>> {
    this.source.finish()
    return Promise.resolve({ done: true, value })
  }

  throw(error?: unknown): Promise<IteratorResult<T>> {
    this.source.finish()
    return Promise.reject(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** What a batch gives at once; `undefined` if that is nothing. */
  protected abstract take(batch: Batch): IteratorResult<T> | undefined

  /** What the next batches give. No async function: each of many reads has one waiting, and would keep its frame. */
  protected advance(): Promise<IteratorResult<T>> {
    return this.source.pull().then(this.#received, this.#failed)
  }

  readonly #received = (batch: Batch | null): IteratorResult<T> | Promise<IteratorResult<T>> =>
    this.#from(batch) ?? this.#goOn()

  readonly #failed = (error: unknown): never => {
    throw this.source.refused(error)
  }

  /** A loop: batches without data may come without end while a stream rests, and a promise for each would keep them all. */
  async #goOn(): Promise<IteratorResult<T>> {
    for (;;) {
      const given = this.#from(await this.source.pull().catch(this.#failed))
      if (given !== undefined) {
        return given
      }
    }
  }

  #from(batch: Batch | null): IteratorResult<T> | undefined {
    this.source.checkAborted()
    if (batch === null) {
      this.source.finish()
      return { done: true, value: undefined }
    }
    return this.take(batch)
  }

  /** All of a batch is the caller's. After the last one the read is over, whether the caller asks for more or not. */
  protected handOver(batch: Batch): void {
    this.source.handOver(batch)
    if (batch.last) {
      this.source.finish()
    }
  }
}

/** One value per batch; batches without one are left out. */
export class BatchIterator<T> extends ReadIterator<T> {
  constructor(
    source: Source,
    private readonly convert: (batch: Batch) => T | undefined,
  ) {
    super(source)
  }

  next(): Promise<IteratorResult<T>> {
    return this.advance()
  }

  protected take(batch: Batch): IteratorResult<T> | undefined {
    const value = this.convert(batch)
    this.handOver(batch)
    return value === undefined ? undefined : { done: false, value }
  }
}

/** The messages of a JSON stream, one by one. */
export class ItemIterator<T> extends ReadIterator<T> {
  #items: readonly T[] = NONE
  #batch: Batch | undefined
  #given = 0

  next(): Promise<IteratorResult<T>> {
    return this.#given < this.#items.length ? Promise.resolve(this.#give()) : this.advance()
  }

  override return(value?: unknown): Promise<IteratorResult<T>> {
    this.#items = NONE
    return super.return(value)
  }

  protected take(batch: Batch): IteratorResult<T> | undefined {
    try {
      this.#items = this.source.parse<T>(batch)
    } catch (error) {
      this.source.fail(error)
      throw error
    }
    this.#batch = batch
    this.#given = 0
    if (this.#items.length > 0) {
      return this.#give()
    }
    this.handOver(batch)
    return undefined
  }

  #give(): IteratorResult<T> {
    const value = this.#items[this.#given] as T
    this.#given += 1
    if (this.#given < this.#items.length) {
      this.source.handOver(this.#batch as Batch, this.#given)
    } else {
      // The next ones may be long in coming, and there may be many reads.
      this.#items = NONE
      this.handOver(this.#batch as Batch)
    }
    return { done: false, value }
  }
}
