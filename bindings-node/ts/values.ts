/** Functions of the caller's, as the core can call them. */
import type { Answer, Ask, Values } from "./backend.js"
import type { HeadersRecord, ParamsRecord, RetryOpts, StreamErrorHandler } from "./types.js"

/** Calls a function and gives what it returns, or what its promise is fulfilled with, to the answer. */
function ask<About, T>(call: (about: About) => T | PromiseLike<T>, give: (answer: Answer, value: T) => void): Ask<About> {
  return (answer, about) => {
    const fail = (error: unknown): void => {
      answer.fail(typeof error === "object" && error !== null ? error : new Error(String(error)))
    }
    try {
      const value = call(about)
      if (typeof (value as PromiseLike<T> | undefined)?.then === "function") {
        (value as PromiseLike<T>).then((it) => give(answer, it)).then(undefined, fail)
      } else {
        give(answer, value as T)
      }
    } catch (error) {
      fail(error)
    }
  }
}

/** Headers or parameters; those without a value are none. */
export function values(record: HeadersRecord | ParamsRecord | undefined): Values | undefined {
  if (record === undefined) {
    return undefined
  }
  const result: Values = {}
  for (const [name, value] of Object.entries(record)) {
    if (typeof value === "function") {
      result[name] = ask(value, (answer, text) => answer.text(text))
    } else if (value !== undefined && value !== null) {
      result[name] = String(value)
    }
  }
  return result
}

/** Headers with fixed values and the results of functions, once. */
export async function resolve(record: HeadersRecord | undefined): Promise<Record<string, string>> {
  const result: Record<string, string> = {}
  for (const [name, value] of Object.entries(record ?? {})) {
    result[name] = typeof value === "function" ? await value() : value
  }
  return result
}

/** An error handler, and what it threw: that is what the call fails with. */
export class Handler {
  #thrown: { error: unknown } | undefined
  readonly ask: Ask<Error> | undefined

  constructor(handler: StreamErrorHandler | undefined, names: (headers: HeadersRecord) => void) {
    if (!handler) {
      return
    }
    const give = (answer: Answer, mended: void | RetryOpts): void => {
      if (mended === undefined || mended === null) {
        answer.nothing()
      } else {
        names(mended.headers ?? {})
        answer.retry(values(mended.headers), values(mended.params))
      }
    }
    const call = async (error: Error): Promise<void | RetryOpts> => {
      try {
        return await handler(error)
      } catch (error) {
        this.#thrown = { error }
        throw error
      }
    }
    this.ask = ask(call, give)
  }

  /** What is to be thrown for an error that came of a call. */
  take(error: unknown): unknown {
    const thrown = this.#thrown
    this.#thrown = undefined
    return thrown === undefined ? error : thrown.error
  }
}

/** The pieces of a body. */
export function pieces(source: AsyncIterator<Uint8Array | string>): Ask<undefined> {
  return ask(
    () => source.next(),
    (answer, { done, value }) => (done ? answer.nothing() : answer.data(value)),
  )
}

/** A handler of events. What it throws is nobody's to catch: it becomes an uncaught exception. */
export function event<Args extends unknown[]>(handler: (...args: Args) => void): (...args: Args) => void {
  return (...args) => {
    try {
      handler(...args)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }
}
