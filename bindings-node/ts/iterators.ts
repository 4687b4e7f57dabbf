/** Iterating a read. Ending the loop aborts the request at once. */
import type { Batch } from "./backend.js"

/** What iterators need of a read. */
interface Source {
  next(): Promise<Batch | null>
  parse<T>(batch: Batch): T[]
  handOver(batch: Batch, units?: number): void
  finish(): void
  fail(error: unknown): void
}

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

  async next(): Promise<IteratorResult<T>> {
    for (let batch = await this.source.next(); batch !== null; batch = await this.source.next()) {
      const value = this.convert(batch)
      this.handOver(batch)
      if (value !== undefined) {
        return { done: false, value }
      }
    }
    this.source.finish()
    return { done: true, value: undefined }
  }
}

/** The messages of a JSON stream, one by one. */
export class ItemIterator<T> extends ReadIterator<T> {
  #items: T[] = []
  #batch: Batch | undefined
  #given = 0

  next(): Promise<IteratorResult<T>> {
    if (this.#given < this.#items.length) {
      return Promise.resolve(this.#give())
    }
    return this.#refill()
  }

  override return(value?: unknown): Promise<IteratorResult<T>> {
    this.#items = []
    return super.return(value)
  }

  #give(): IteratorResult<T> {
    const value = this.#items[this.#given] as T
    this.#given += 1
    if (this.#given < this.#items.length) {
      this.source.handOver(this.#batch as Batch, this.#given)
    } else {
      this.handOver(this.#batch as Batch)
    }
    return { done: false, value }
  }

  async #refill(): Promise<IteratorResult<T>> {
    for (let batch = await this.source.next(); batch !== null; batch = await this.source.next()) {
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
    }
    this.source.finish()
    return { done: true, value: undefined }
  }
}
