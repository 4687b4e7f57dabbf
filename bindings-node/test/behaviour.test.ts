import { execFile, spawn } from "node:child_process"
import { promisify } from "node:util"
import { Worker } from "node:worker_threads"

import { DurableStream, IdempotentProducer } from "everstream"
import { describe, expect, it } from "vitest"

import { until, useServer } from "./support.js"

const { server, json } = useServer()

const root = new URL("..", import.meta.url)
const IMPORTS = `import { DurableStream, IdempotentProducer, stream } from "everstream"; const url = process.argv[1];`

/** Runs a program in a process of its own; gives its output. It is killed when it does not end. */
async function run(program: string, url: string): Promise<string> {
  const args = ["--input-type=module", "--eval", `${IMPORTS} ${program}`, url]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 20_000 })
  return stdout.trim()
}

describe("the end of a process", () => {
  it("a read that nobody waits for keeps no process alive", async () => {
    const { url } = await json({ body: [1] })
    expect(await run(`const read = await stream({ url }); console.log(read.status)`, url)).toBe("200")
    expect(await run(`const read = await stream({ url, live: "sse" }); console.log(read.status)`, url)).toBe("200")
  })

  it("a subscription keeps it alive, unless it is told not to", async () => {
    const handle = await json({ body: [1] })
    const program = `(await stream({ url })).unref().subscribeJson(({ items }) => console.log(items.length))`
    await run(program, handle.url)
    const held = `(await stream({ url })).subscribeJson(({ items }) => items.forEach((it) => console.log(it)))`
    const child = spawn(process.execPath, ["--input-type=module", "--eval", `${IMPORTS} ${held}`, handle.url], { cwd: root })
    let output = ""
    child.stdout.on("data", (data: Buffer) => (output += data.toString()))
    await until(() => output === "1\n")
    await handle.append("2")
    await until(() => output === "1\n2\n")
    const ended = new Promise((resolve) => child.on("exit", resolve))
    await handle.close()
    expect(await ended).toBe(0)
  })

  it("what was flushed is stored when the process ends", async () => {
    const handle = await json()
    const program = `
      const producer = new IdempotentProducer(new DurableStream({ url }), "p")
      for (let i = 0; i < 1000; i += 1) producer.append(String(i))
      await producer.flush()`
    await run(program, handle.url)
    expect((await (await handle.stream({ live: false })).json()).length).toBe(1000)
  })

  it("process.exit does not wait for anything", async () => {
    const { url } = await json({ body: [1] })
    const program = `
      const read = await stream({ url, live: "sse" })
      for await (const item of read) { console.log(item); process.exit(0) }`
    expect(await run(program, url)).toBe("1")
  })
})

describe("workers", () => {
  const work = `
    const { workerData, parentPort } = require("node:worker_threads")
    const { DurableStream, IdempotentProducer } = require("everstream")
    const handle = new DurableStream({ url: workerData.url, contentType: "application/json" })
    const producer = new IdempotentProducer(handle, workerData.id)
    let count = 0
    const loop = async () => {
      for (;;) {
        await producer.append({ id: workerData.id, count })
        count += 1
        if (count === workerData.tell) parentPort.postMessage(count)
        if (count === workerData.stop) break
      }
      await producer.detach()
    }
    loop()`

  const start = (data: object): Worker => new Worker(work, { eval: true, workerData: data })

  it("two of them work side by side", async () => {
    const handle = await json()
    const workers = ["a", "b"].map((id) => start({ url: handle.url, id, stop: 50 }))
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on("exit", resolve))))
    const items = await (await handle.stream<{ id: string; count: number }>({ live: false })).json()
    for (const id of ["a", "b"]) {
      expect(items.filter((it) => it.id === id).map((it) => it.count)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    }
  })

  it("they may be terminated at work", async () => {
    const handle = await json()
    for (let round = 0; round < 5; round += 1) {
      const worker = start({ url: handle.url, id: `r${round}`, tell: 20 })
      await new Promise((resolve) => worker.once("message", resolve))
      await worker.terminate()
    }
    await handle.append("1")
    expect((await (await handle.stream({ live: false })).json()).length).toBeGreaterThanOrEqual(101)
  })

  it("they load the add-on and let it go over and over, and memory stays bounded", async () => {
    const handle = await json()
    const visit = `
      const { workerData, parentPort } = require("node:worker_threads")
      const { DurableStream, IdempotentProducer } = require("everstream")
      const visit = async () => {
        const handle = new DurableStream({ url: workerData.url, contentType: "application/json" })
        const producer = new IdempotentProducer(handle, workerData.id)
        for (let count = 0; count < 50; count += 1) {
          producer.append(String(count))
        }
        await producer.flush()
        const items = await (await handle.stream({ live: false })).json()
        // One that waits for what never comes is let go with the rest.
        const waiting = (await handle.stream({ live: "long-poll", offset: "now" })).json()
        waiting.catch(() => {})
        parentPort.postMessage(items.length)
      }
      visit()`
    let visits = 0
    const round = async (): Promise<void> => {
      for (let i = 0; i < 20; i += 1) {
        const worker = new Worker(visit, { eval: true, workerData: { url: handle.url, id: `v${visits}` } })
        const failed = new Promise<never>((_, reject) => worker.once("error", reject))
        visits += 1
        const read = await Promise.race([new Promise((resolve) => worker.once("message", resolve)), failed])
        expect(read).toBe(visits * 50)
        await worker.terminate()
      }
    }
    await round()
    const before = process.memoryUsage().rss
    await round()
    await round()
    // A worker's own heap is larger than that already: what stays of forty of them is less than one each.
    expect(process.memoryUsage().rss - before).toBeLessThan(80 * (1 << 20))
  })
})

describe("memory", () => {
  const MiB = 1 << 20

  it("stays bounded over 100,000 appends and reads", async () => {
    const handle = await json()
    const producer = new IdempotentProducer(handle, "p", { lingerMs: 0 })
    const round = async (): Promise<void> => {
      for (let i = 0; i < 20_000; i += 1) {
        producer.append('{"some":"message","with":"a few fields"}')
      }
      await producer.flush()
      const other = await json()
      await Promise.all(Array.from({ length: 500 }, (_, i) => other.append(String(i))))
      for (let i = 0; i < 20; i += 1) {
        expect(await (await other.stream({ live: false })).json()).toHaveLength(500)
      }
      await other.delete()
    }
    await round()
    // What the server keeps is in this process as well: 20,000 messages of 41 bytes each round.
    const kept = 4 * 20_000 * 41 * 3
    const before = process.memoryUsage().rss
    for (let i = 0; i < 4; i += 1) {
      await round()
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(kept + 64 * MiB)
  })

  it("signals keep no listeners", async () => {
    const warnings: Error[] = []
    const note = (warning: Error) => warnings.push(warning)
    process.on("warning", note)
    const handle = await json()
    const { signal } = new AbortController()
    for (let i = 0; i < 50; i += 1) {
      await handle.append(String(i), { signal })
      await (await handle.stream({ live: false, signal })).json()
    }
    await new Promise((resolve) => setImmediate(resolve))
    process.off("warning", note)
    expect(warnings).toEqual([])
  })
})

it("the server serves many readers in one process", async () => {
  const handle = await json()
  const reads = await Promise.all(Array.from({ length: 50 }, () => handle.stream<number>({ live: "sse" })))
  const items = reads.map(async (read) => {
    const all: number[] = []
    for await (const item of read) {
      all.push(item)
    }
    return all
  })
  await new DurableStream({ url: handle.url }).append("1")
  await handle.close({ body: "2" })
  expect(await Promise.all(items)).toEqual(reads.map(() => [1, 2]))
  expect(server.url).toMatch(/^http:/)
})
