/** Streams that can be iterated: Safari's cannot by themselves. */

/** A stream for `for await`. */
export type ReadableStreamAsyncIterable<T> = ReadableStream<T> & AsyncIterable<T>

/** Makes a stream iterable where the platform does not; it stays the same object. */
export function asAsyncIterableReadableStream<T>(stream: ReadableStream<T>): ReadableStreamAsyncIterable<T> {
  const given = stream as ReadableStreamAsyncIterable<T>
  return typeof given[Symbol.asyncIterator] === "function" ? given : iteratedBy(stream, function (this: ReadableStream<T>) {
    return new ReaderIterator(this.getReader())
  })
}

/** The same stream, iterated by what `iterate` makes. */
export function iteratedBy<T>(
  stream: ReadableStream<T>,
  iterate: (this: ReadableStream<T>) => AsyncIterator<T>,
): ReadableStreamAsyncIterable<T> {
  for (const name of [Symbol.asyncIterator, "values"]) {
    Object.defineProperty(stream, name, { configurable: true, writable: true, value: iterate })
  }
  return stream as ReadableStreamAsyncIterable<T>
}

class ReaderIterator<T> implements AsyncIterableIterator<T> {
  #reading = 0
  #finished = false

  constructor(readonly reader: ReadableStreamDefaultReader<T>) {}

  async next(): Promise<IteratorResult<T>> {
    if (this.#finished) {
      return { done: true, value: undefined }
    }
    this.#reading += 1
    try {
      const result = await this.reader.read()
      if (!result.done) {
        return { done: false, value: result.value }
      }
      this.#end()
      return { done: true, value: undefined }
    } catch (error) {
      this.#end()
      throw error
    } finally {
      this.#reading -= 1
    }
  }

  async return(reason?: unknown): Promise<IteratorResult<T>> {
    await this.#cancel(reason)
    return { done: true, value: undefined }
  }

  async throw(error?: unknown): Promise<IteratorResult<T>> {
    await this.#cancel(error)
    throw error
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #end(): void {
    this.#finished = true
    this.reader.releaseLock()
  }

  async #cancel(reason: unknown): Promise<void> {
    if (this.#reading > 0) {
      throw new TypeError("Cannot close a readable stream reader when it has pending read requests")
    }
    if (!this.#finished) {
      const cancelled = this.reader.cancel(reason)
      this.#end()
      await cancelled
    }
  }
}
