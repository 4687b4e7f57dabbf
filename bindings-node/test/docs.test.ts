/** The examples of docs/node.md, those for Node of docs/subscriptions.md and the package's README run as they stand. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

import * as everstream from "everstream"
import { DurableStream, stream } from "everstream"
import * as subscribing from "everstream/subscriptions"
import { Subscriptions } from "everstream/subscriptions"
import * as testing from "everstream/testing"
import { describe, expect, it, vi } from "vitest"

import { until, useServer } from "./support.js"

const DEFAULT_URL = "http://127.0.0.1:4437/v1/stream/orders"
const { address, json, server } = useServer()

const DEFAULT_ROOT = "http://127.0.0.1:4437/v1/stream"
/** The stream root of the server of these tests. */
const root = () => server.streamUrl("x").replace(/\/x$/, "")

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

const MODULES: Record<string, object> = {
  everstream,
  "everstream/subscriptions": subscribing,
  "everstream/testing": testing,
}

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
    expect(GUIDE).toHaveLength(8)
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

  it("works", async () => {
    await DurableStream.create({ url: `${root()}/wakes`, contentType: "application/json" })
    const controller = new AbortController()
    const seen: unknown[] = []
    const work = async (path: string, jobs: unknown, { signal }: { signal: AbortSignal }) => {
      seen.push(path, jobs, signal.aborted)
      controller.abort(new Error("enough"))
    }
    const running = run(example("everstream/subscriptions").replace(DEFAULT_ROOT, root()), { signal: controller.signal, work })
    await until(async () => (await new Subscriptions({ url: root() }).list()).some((it) => it.id === "workers"))
    const ended = expect(running).rejects.toThrow("enough")
    await DurableStream.create({ url: `${root()}/jobs/a`, contentType: "application/json", body: [1, 2] })
    await ended
    expect(seen).toEqual(["jobs/a", [1, 2], false])
    await new Subscriptions({ url: root() }).delete("workers")
  })

  it("tests", async () => {
    const { orders } = await run(example("everstream/testing"), { DurableStream }, ["orders"])
    expect((orders as DurableStream).created).toBe(true)
  })
})

describe("docs/subscriptions.md", () => {
  const [receiver, , worker, ...others] = examples("../../docs/subscriptions.md")

  it("has no example that is not run here or by the server's tests", () => {
    expect(others).toEqual([])
    expect(receiver).toContain("async function hook")
    expect(worker).toContain("subscriptions.worker(")
  })

  it("receives webhooks", async () => {
    const subscriptions = new Subscriptions({ url: root() })
    const received: { headers: Record<string, unknown>; body: Buffer }[] = []
    const http = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        received.push({ headers: request.headers, body: Buffer.concat(chunks) })
        response.writeHead(202).end()
      })
    })
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve))
    const { port } = http.address() as AddressInfo
    const webhook = `http://127.0.0.1:${port}/`
    await subscriptions.create("mailer", { pattern: "mail/*", webhook })
    await DurableStream.create({ url: `${root()}/mail/a`, contentType: "application/json", body: [1, 2] })
    await until(() => received.length > 0)

    const queue: string[] = []
    const seen: unknown[] = []
    const process = async (path: string, message: unknown) => void seen.push([path, message])
    const made = await run((receiver as string).replace(DEFAULT_ROOT, root()), { queue, process }, ["hook", "work"])
    const { hook, work } = made as { hook: (headers: object, body: Buffer) => Promise<number>; work: (body: string) => Promise<void> }
    const { headers, body } = received[0] as (typeof received)[0]
    expect(await hook(headers, Buffer.concat([body, Buffer.from(" ")]))).toBe(401)
    expect(await hook({}, body)).toBe(401)
    expect(await hook(headers, body)).toBe(202)
    await work(queue[0] as string)
    expect(seen).toEqual([["mail/a", 1], ["mail/a", 2]])
    const { offset } = await DurableStream.head({ url: `${root()}/mail/a` })
    expect((await subscriptions.get("mailer")).streams).toMatchObject([{ path: "mail/a", ackedOffset: offset }])
    http.close()
  })

  it("works", async () => {
    const subscriptions = new Subscriptions({ url: root() })
    await DurableStream.create({ url: `${root()}/events`, contentType: "application/json" })
    await subscriptions.create("workers", { pattern: "tasks/*", wakeStream: "events" })
    await DurableStream.create({ url: `${root()}/tasks/a`, contentType: "application/json", body: [1, 2] })
    const controller = new AbortController()
    const seen: unknown[] = []
    const process = async (path: string, job: unknown) => {
      seen.push([path, job])
      if (job === 2) {
        void until(async () => (await subscriptions.get("workers")).streams[0]?.ackedOffset !== "-1").then(() =>
          controller.abort(new Error("enough")),
        )
      }
    }
    const running = run((worker as string).replace(DEFAULT_ROOT, root()), { signal: controller.signal, process })
    await expect(running).rejects.toThrow("enough")
    expect(seen).toEqual([["tasks/a", 1], ["tasks/a", 2]])
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
