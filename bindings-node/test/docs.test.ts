/** The examples of docs/node.md and of the package's README run as they stand. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import * as everstream from "everstream"
import { DurableStream, stream } from "everstream"
import * as testing from "everstream/testing"
import { describe, expect, it, vi } from "vitest"

import { useServer } from "./support.js"

const DEFAULT_URL = "http://127.0.0.1:4437/v1/stream/orders"
const { address, json } = useServer()

function examples(file: string): string[] {
  const text = readFileSync(new URL(file, import.meta.url), "utf8")
  return [...text.matchAll(/^```js\n(.*?)^```/gms)].map((match) => match[1] as string)
}

const GUIDE = examples("../../docs/node.md")

/** The example that has this text in it. */
function example(text: string): string {
  const found = GUIDE.filter((code) => code.includes(text))
  expect(found, `docs/node.md has one example with ${text}`).toHaveLength(1)
  return found[0] as string
}

const MODULES: Record<string, object> = { everstream, "everstream/testing": testing }

/** Runs an example with these names in reach, and gives the values of its own ones. */
async function run(code: string, names: Record<string, unknown>, results: string[] = []): Promise<Record<string, unknown>> {
  const imported = code.replace(/^import (\{.*\}) from "(.*)"$/gm, "const $1 = MODULES['$2']")
  const AsyncFunction = (async () => {}).constructor as new (...parts: string[]) => (...values: unknown[]) => Promise<unknown>
  const all = { MODULES, ...names }
  const body = new AsyncFunction(...Object.keys(all), `${imported}\nreturn { ${results.join(", ")} }`)
  return (await body(...Object.values(all))) as Record<string, unknown>
}

async function stored(url: string): Promise<unknown[]> {
  return (await stream({ url, live: false })).json()
}

describe("docs/node.md", () => {
  it("has no example that is not run here", () => {
    expect(GUIDE).toHaveLength(7)
  })

  it("writes", async () => {
    const url = address()
    await run(example("DurableStream.create({ url, contentType"), { url })
    expect(await stored(url)).toEqual([{ order: 1 }, { order: 2 }, "three"])
    expect((await DurableStream.head({ url })).streamClosed).toBe(true)
  })

  it("produces", async () => {
    const orders = await json()
    const { offset } = await run(example("new IdempotentProducer"), { orders }, ["offset"])
    expect(await stored(orders.url)).toHaveLength(997)
    expect(offset).toBe((await orders.head()).offset)
  })

  it("reads", async () => {
    const orders = await json({ body: [{ order: 1 }] })
    const log = vi.fn<(...values: unknown[]) => void>(() => void orders.close())
    await run(example('offset: "-1" }'), { url: orders.url, console: { log } })
    expect(log.mock.calls).toEqual([[{ order: 1 }, expect.objectContaining({ skip: 0 })]])
  })

  it("goes on from a file", async () => {
    const orders = await json({ body: [1, 2, 3] })
    const folder = mkdtempSync(join(tmpdir(), "everstream-"))
    const code = example("new CheckpointFile").replace('"orders.json"', JSON.stringify(join(folder, "orders.json")))
    const seen: unknown[] = []
    const work = async (order: unknown) => {
      if (order === 2 && !seen.includes(2)) {
        seen.push(2)
        throw new Error("crash")
      }
      seen.push(order)
      if (order === 3) {
        await orders.close()
      }
    }
    await expect(run(code, { url: orders.url, work })).rejects.toThrow("crash")
    await run(code, { url: orders.url, work })
    expect(seen).toEqual([1, 2, 2, 3])
    rmSync(folder, { recursive: true })
  })

  it("keeps digits", async () => {
    const { url } = await json({ body: '[{"n":9007199254740993,"text":"1234567890123456789"}]' })
    const log = vi.fn()
    await run(example("parse: digits"), { url, console: { log } })
    expect(log).toHaveBeenCalledWith([{ n: "9007199254740993", text: "1234567890123456789" }])
  })

  it("sets", async () => {
    const url = address()
    const seen: Request[] = []
    const real = globalThis.fetch
    const code = example("params: { tenant").replace("url,", "url, contentType: 'text/plain', fetch,")
    const fetch: typeof real = (input, init) => {
      seen.push(new Request(input, { ...init, body: null }))
      return seen.length === 1 ? Promise.resolve(new Response(null, { status: 401 })) : real(input, init)
    }
    const { signal } = new AbortController()
    const { orders } = await run(code, { url, signal, fetch, token: async () => "t" }, ["orders"])
    await (orders as DurableStream).create()
    expect(seen.map((it) => it.headers.get("authorization"))).toEqual(["Bearer t", "Bearer anew"])
    expect(seen.map((it) => new URL(it.url).search)).toEqual(["?tenant=a", "?tenant=a"])
  })

  it("tests", async () => {
    const { orders } = await run(example("everstream/testing"), { DurableStream }, ["orders"])
    expect((orders as DurableStream).created).toBe(true)
  })
})

describe("README.md of the package", () => {
  it("runs", async () => {
    const [code, ...others] = examples("../README.md")
    expect(others).toEqual([])
    const url = address()
    const seen: unknown[] = []
    const log = (order: unknown) => {
      if (seen.push(order) === 3) {
        void new DurableStream({ url }).close()
      }
    }
    expect(code).toContain(DEFAULT_URL)
    await run((code as string).replace(DEFAULT_URL, url), { console: { log } })
    expect(seen).toEqual([{ order: 1 }, { order: 2 }, { order: 3 }])
  })
})
