import { DurableStream, type CreateOptions } from "everstream"
import { Server } from "everstream/testing"
import { afterAll, beforeAll } from "vitest"

const JSON_TYPE = "application/json"

/** A server for the tests of a file, and streams on it. */
export function useServer(options: ConstructorParameters<typeof Server>[0] = {}) {
  const server = new Server({ longPollTimeout: 500, ...options })
  let made = 0
  beforeAll(() => server.start())
  afterAll(() => server.stop())
  return {
    server,
    /** The address of a stream that is not there yet. */
    address: () => server.streamUrl(`s${(made += 1)}`),
    json: (options: Partial<CreateOptions> = {}) =>
      DurableStream.create({ url: server.streamUrl(`s${(made += 1)}`), contentType: JSON_TYPE, ...options }),
    text: (options: Partial<CreateOptions> = {}) =>
      DurableStream.create({ url: server.streamUrl(`s${(made += 1)}`), contentType: "text/plain", ...options }),
    bytes: (options: Partial<CreateOptions> = {}) =>
      DurableStream.create({ url: server.streamUrl(`s${(made += 1)}`), ...options }),
  }
}

/** Waits until something holds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** What a call fails with. */
export async function failure<T extends Error = Error>(call: Promise<unknown> | (() => Promise<unknown>)): Promise<T> {
  const promise = typeof call === "function" ? call() : call
  return promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: T) => error,
  )
}
