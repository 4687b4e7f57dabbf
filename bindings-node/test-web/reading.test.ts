/** Writing and reading in a page, cross-origin, from our server and from the official one. */
import { DurableStreamTestServer } from "@durable-streams/server"
import { DurableStream, IdempotentProducer, stream } from "everstream"
import { Server } from "everstream/testing"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

import { usePages } from "./browser.js"

const open = usePages()

const servers = {
  ours: new Server({ longPollTimeout: 500 }),
  official: new DurableStreamTestServer({ port: 0, longPollTimeout: 500 }),
}
let made = 0
const address = (kind: keyof typeof servers): string => `${servers[kind].url}/v1/stream/w${(made += 1)}`

beforeAll(() => Promise.all([servers.ours.start(), servers.official.start()]))
afterAll(() => Promise.all([servers.ours.stop(), servers.official.stop()]))

describe.each(["ours", "official"] as const)("from a page, the server that is %s", (kind) => {
  it.each([true, "sse", "long-poll"] as const)("is written and read live to the end (live: %s)", async (live) => {
    const page = await open()
    const items = await page.evaluate(
      async ({ url, live }) => {
        const { DurableStream, IdempotentProducer } = window.everstream
        const handle = await DurableStream.create({ url, contentType: "application/json" })
        const producer = new IdempotentProducer(handle, "page")
        const items: number[] = []
        producer.append("0")
        for await (const item of await handle.stream<number>({ live })) {
          items.push(item)
          if (item < 5) {
            producer.append(String(item + 1))
          } else {
            await producer.close()
          }
        }
        return items
      },
      { url: address(kind), live },
    )
    expect(items).toEqual([0, 1, 2, 3, 4, 5])
  })

  it("keeps bytes and text as they are", async () => {
    const page = await open()
    const { bytes, text, info } = await page.evaluate(async ([first, second]) => {
      const { DurableStream, stream } = window.everstream
      const binary = await DurableStream.create({ url: first as string })
      await binary.append(Uint8Array.from({ length: 1000 }, (_, i) => i % 256))
      const words = await DurableStream.create({ url: second as string, contentType: "text/plain" })
      await words.append("grüße ")
      await words.append("\u{1F30A}\r\n")
      await words.close()
      const { contentType, streamClosed } = await words.head()
      return {
        bytes: [...(await (await stream({ url: first as string, live: false })).body())],
        text: await (await stream({ url: second as string })).text(),
        info: { contentType, streamClosed },
      }
    }, [address(kind), address(kind)])
    expect(bytes).toEqual(Array.from({ length: 1000 }, (_, i) => i % 256))
    expect(text).toBe("grüße \u{1F30A}\r\n")
    expect(info).toEqual({ contentType: "text/plain", streamClosed: true })
  })

  it("goes on from a checkpoint in the middle of an answer", async () => {
    const page = await open()
    const { before, after } = await page.evaluate(async (url) => {
      const { DurableStream, stream } = window.everstream
      const handle = await DurableStream.create({ url, contentType: "application/json" })
      await Promise.all(Array.from({ length: 20 }, (_, number) => handle.append(number)))
      const response = await stream<number>({ url, live: false })
      const before: number[] = []
      for await (const item of response) {
        before.push(item)
        if (item === 7) {
          break
        }
      }
      const after = await (await stream<number>({ url, live: false, offset: response.checkpoint() })).json()
      return { before, after }
    }, address(kind))
    expect([...before, ...after]).toEqual(Array.from({ length: 20 }, (_, number) => number))
    expect(before).toHaveLength(8)
  })

  it("says what went wrong as everywhere else", async () => {
    const page = await open()
    const failures = await page.evaluate(async (url) => {
      const { DurableStream, DurableStreamError, StreamNotFoundError, IdempotentProducer, stream } = window.everstream
      const seen = async (call: () => Promise<unknown>) => {
        const error = await call().then(() => undefined, (error: unknown) => error)
        return error instanceof DurableStreamError ? [error.name, error.code, error.status ?? null] : String(error)
      }
      const missing = await seen(() => stream({ url: `${url}-missing` }))
      const typed = await stream({ url: `${url}-missing` }).catch((error: unknown) => error instanceof StreamNotFoundError)
      const handle = await DurableStream.create({ url, contentType: "application/json" })
      const unparsable = await seen(() => handle.append("{"))
      await handle.close()
      const closed = await seen(() => handle.append(1))
      const abort = new AbortController()
      const waiting = stream({ url, live: "long-poll", offset: "now", signal: abort.signal }).then((it) => it.json())
      abort.abort(new Error("enough"))
      const given = await seen(() => waiting)
      const refused = await seen(async () => new IdempotentProducer(handle, "p", { maxInFlight: 0 }))
      const scheme = await seen(() => stream({ url: "ftp://x/" }))
      // Of a build for pages, which leaves out what Rust prints for developers.
      const quoted = await stream({ url: "ftp://x/" }).catch((error: unknown) => String(error).includes('"ftp://x/"'))
      return { missing, typed, unparsable, closed, given, refused, scheme, quoted }
    }, address(kind))
    expect(failures).toEqual({
      missing: ["StreamNotFoundError", "NOT_FOUND", 404],
      typed: true,
      unparsable: ["InvalidArgumentError", "INVALID_ARGUMENT", null],
      closed: ["StreamClosedError", "STREAM_CLOSED", 409],
      given: "Error: enough",
      refused: ["InvalidArgumentError", "INVALID_ARGUMENT", null],
      scheme: ["InvalidArgumentError", "INVALID_ARGUMENT", null],
      quoted: true,
    })
  })

  it("asks values of the caller's anew, and sends a body that comes in pieces", async () => {
    const page = await open()
    const { asked, text, errors } = await page.evaluate(async (url) => {
      const { DurableStream } = window.everstream
      let asked = 0
      // A header would have to be allowed by the server (CORS).
      const params = { token: async () => `token-${(asked += 1)}` }
      const handle = await DurableStream.create({ url, contentType: "text/plain", params })
      async function* pieces() {
        yield "one "
        yield new TextEncoder().encode("two")
      }
      await handle.appendStream(pieces())
      const text = await (await handle.stream({ live: false })).text()
      const errors: string[] = []
      const failing = new DurableStream({ url, headers: { Authorization: () => Promise.reject(new RangeError("no token")) } })
      await failing.head().catch((error: Error) => errors.push(`${error.name}: ${error.message}`))
      return { asked, text, errors }
    }, address(kind))
    expect(text).toBe("one two")
    expect(asked).toBeGreaterThanOrEqual(3)
    expect(errors).toEqual(["RangeError: no token"])
  })
})

it("a path is a stream of the page's server", async () => {
  const page = await open()
  const requested: string[] = []
  page.on("request", (request) => requested.push(request.url()))
  const code = await page.evaluate(() =>
    window.everstream.stream({ url: "/v1/stream/x" }).catch((error: { code: string }) => error.code),
  )
  expect(code).toBe("NOT_FOUND")
  expect(requested.at(-1)).toContain(`${new URL(page.url()).origin}/v1/stream/x?`)
})

it("a given fetch carries the requests", async () => {
  const page = await open()
  const { text, calls } = await page.evaluate(async (url) => {
    const { DurableStream } = window.everstream
    const calls: string[] = []
    const counted: typeof fetch = (input, init) => {
      calls.push(init?.method ?? "GET")
      return fetch(input, init)
    }
    const handle = await DurableStream.create({ url, contentType: "text/plain", fetch: counted })
    await handle.append("x")
    return { text: await (await handle.stream({ live: false })).text(), calls }
  }, address("ours"))
  expect(text).toBe("x")
  expect(calls).toEqual(["PUT", "POST", "GET"])
})

/** Reads an answer of these pieces; what it held, or what was wrong with it. Runs in the page, and in Node. */
async function readAnswer(read: typeof stream, pieces: number[][], maxBatchBytes?: number): Promise<unknown> {
  const body = new ReadableStream<Uint8Array>({
    type: "bytes",
    start(controller) {
      pieces.forEach((piece) => controller.enqueue(Uint8Array.from(piece)))
      controller.close()
    },
  })
  const headers = { "content-type": "application/json", "stream-next-offset": "9", "stream-up-to-date": "true" }
  const answered = async () => new Response(body, { headers })
  const response = await read({ url: "http://127.0.0.1/x", live: false, fetch: answered, maxBatchBytes })
  return response.json().catch(({ code, message }: { code: string; message: string }) => ({ code, message }))
}

const bytes = (text: string): number[] => [...Buffer.from(text)]

it.each([
  ["whole", [bytes("[1,"), bytes('"gr\u00fc\u00dfe \u{1F30A}"]')]],
  ["cut in a character", [[...bytes('["gr'), 0xc3], [0xbc, ...bytes('n"]')]]],
  ["no array", [bytes("7")]],
  ["empty", []],
  ["a mark before it", [[0xef, 0xbb, 0xbf, ...bytes("[1]")]]],
  ["not ended", [bytes("[1,2"), bytes(",")]],
  ["more behind it", [bytes("[1]"), bytes("x")]],
  ["not UTF-8", [bytes('["a'), [0xff], bytes('"]')]],
] as [string, number[][]][])("an answer of JSON says the same as in Node: %s", async (_, pieces) => {
  const page = await open()
  for (const limit of [undefined, 2]) {
    const given = { code: String(readAnswer), pieces, limit }
    const inPage = await page.evaluate(({ code, pieces, limit }) => {
      const readAnswer = new Function(`return ${code}`)() as (...args: unknown[]) => Promise<unknown>
      return readAnswer(window.everstream.stream, pieces, limit)
    }, given)
    expect(inPage).toEqual(await readAnswer(stream, pieces, limit))
  }
})

it("long texts beyond ASCII are whole, however they come", async () => {
  const url = address("ours")
  const items = Array.from({ length: 40_000 }, (_, number) => ({ text: "gr\u00fc\u00dfe \u{1F30A}".repeat(1 + (number % 3)) + number }))
  const handle = await DurableStream.create({ url, contentType: "application/json" })
  const producer = new IdempotentProducer(handle, "writer")
  for (const item of items) {
    await producer.send(item)
  }
  await producer.close()
  const page = await open()
  const read = await page.evaluate(async (url) => (await window.everstream.stream({ url, live: false })).json(), url)
  expect(read).toEqual(items)
})

it("the entry that fetches its module works as well", async () => {
  const page = await open()
  // As text: what transforms this file would rewrite the import.
  const code = await page.evaluate(`
    import("/everstream/url.mjs").then(({ stream }) => stream({ url: "/v1/stream/x" })).catch((error) => error.code)
  `)
  expect(code).toBe("NOT_FOUND")
})
