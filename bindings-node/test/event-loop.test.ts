/** Calls that the thread of JavaScript carries itself: single requests over plain `http:`, on Linux. */
import { Worker } from "node:worker_threads"

import { DurableStream } from "everstream"
import { Server } from "everstream/testing"
import { describe, expect, it, onTestFinished } from "vitest"

import { output } from "./processes.js"
import { scripted } from "./scripted.js"
import { failure, useServer } from "./support.js"

const { address, json, server, text } = useServer()

const PACKAGE = new URL("..", import.meta.url).pathname

const read = async (handle: DurableStream): Promise<string> => (await handle.stream({ live: false })).text()

describe("calls in the event loop", () => {
  it.runIf(process.platform === "linux")("no other thread is woken for them", async () => {
    const { url } = await text()
    const program = `
      const { readdirSync, readFileSync } = require("node:fs")
      const { DurableStream } = require("everstream")
      // How often threads of the add-on have gone to sleep.
      const sleeps = () => readdirSync("/proc/self/task").map((id) => readFileSync("/proc/self/task/" + id + "/status", "utf8"))
        .filter((status) => /^Name:\\severstream$/m.test(status))
        .map((status) => Number(/^voluntary_ctxt_switches:\\s(\\d+)$/m.exec(status)[1]))
      const work = async () => {
        const handle = new DurableStream({ url: ${JSON.stringify(url)}, contentType: "text/plain" })
        await handle.append("a")
        const [before] = sleeps()
        for (let i = 0; i < 1000; i += 1) await handle.append("a")
        const [after, ...others] = sleeps()
        console.log(after - before < 100, others.length)
      }
      work()`
    expect(await output(process.execPath, ["-e", program], { cwd: PACKAGE })).toBe("true 0\n")
  })

  it("a body that no socket takes at once is stored whole", async () => {
    const handle = await text()
    const large = Array.from({ length: 1 << 20 }, (_, number) => String(number).padStart(8, "0")).join("")
    await handle.append(large)
    expect((await read(handle)) === large).toBe(true)
  })

  it("a piece of an answer after the other is waited for", async () => {
    const { url } = await scripted((response) => {
      const part = "x".repeat(1000)
      response.writeHead(400, { "content-type": "text/plain" })
      const send = (left: number): unknown => (left === 0 ? response.end() : response.write(part, () => setImmediate(send, left - 1)))
      send(4)
    })
    const handle = new DurableStream({ url, contentType: "text/plain", backoffOptions: { maxRetries: 0 } })
    expect((await failure<Error & { details?: unknown }>(handle.append("a"))).message).toContain("400")
  })

  it("many at once have connections of their own, and each is stored once", async () => {
    const handle = new DurableStream({ url: (await text()).url, contentType: "text/plain", batching: false })
    const numbers = Array.from({ length: 400 }, (_, number) => String(number).padStart(4, "0"))
    await Promise.all(numbers.map((number) => handle.append(number)))
    expect((await read(handle)).match(/.{4}/g)?.sort()).toEqual(numbers)
  })

  it("those that come while one is under way are stored in the order of the calls", async () => {
    const handle = await text()
    const parts = Array.from({ length: 100 }, (_, number) => `${number} `)
    await Promise.all(parts.map((part) => handle.append(part)))
    expect(await read(handle)).toBe(parts.join(""))
  })

  it("what the network loses of an idempotent handle is sent again, and stored once", async () => {
    const { url } = await json()
    const faults = [{ dropConnection: true }, { status: 503 }, { delayMs: 5, dropConnection: true }]
    let set = 0
    let failed = 0
    const spoil = (probability: number): void => {
      const fault = faults[(set += 1) % faults.length]
      server.injectFault(new URL(url).pathname, { ...fault, method: "POST", count: 3, probability })
    }
    spoil(1)
    const timer = setInterval(spoil, 10, 0.5)
    onTestFinished(() => clearInterval(timer))
    const writers = [0, 1, 2, 3]
    await Promise.all(
      writers.map(async (writer) => {
        const backoffOptions = { initialDelay: 1, maxDelay: 20, maxRetries: 1000, onFailedAttempt: () => (failed += 1) }
        const handle = new DurableStream({ url, contentType: "application/json", idempotent: true, backoffOptions })
        for (let number = 0; number < 300; number += 1) {
          await handle.append({ writer, number })
        }
      }),
    )
    clearInterval(timer)
    expect(failed).toBeGreaterThan(2)
    const response = await new DurableStream({ url }).stream<{ writer: number; number: number }>({ live: false })
    const stored = await response.json()
    for (const writer of writers) {
      const numbers = stored.filter((it) => it.writer === writer).map((it) => it.number)
      expect(numbers).toEqual(Array.from({ length: 300 }, (_, number) => number))
    }
  })

  it("an answer that came while JavaScript was busy is taken", async () => {
    // Also if there was no more time for it.
    const handle = new DurableStream({ url: (await text()).url, contentType: "text/plain", timeoutMs: 100 })
    await handle.head()
    const appended = handle.append("a")
    const end = performance.now() + 400
    while (performance.now() < end);
    await appended
    expect(await read(handle)).toBe("a")
  })

  it("connections whose server has gone are not used again", async () => {
    const first = new Server({ longPollTimeout: 500 })
    await first.start()
    const { port } = new URL(first.url)
    const url = first.streamUrl("s")
    const handle = await DurableStream.create({ url, contentType: "text/plain" })
    await handle.append("a")
    await first.stop()
    const second = new Server({ port: Number(port) })
    await second.start()
    try {
      await handle.create({ contentType: "text/plain" })
      await handle.append("b")
      expect(await read(handle)).toBe("b")
    } finally {
      await second.stop()
    }
  })

  it("one that is not answered in time ends, and one that is given up ends at once", async () => {
    const { url, asked } = await scripted(() => {})
    const once = { backoffOptions: { maxRetries: 0 } }
    const error = await failure(new DurableStream({ url, contentType: "text/plain", timeoutMs: 50, ...once }).append("a"))
    expect(error.message).toContain("no answer within 50 ms")
    const controller = new AbortController()
    const given = failure(new DurableStream({ url, contentType: "text/plain", signal: controller.signal, ...once }).append("a"))
    while (asked.length < 2) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    controller.abort(new Error("enough"))
    expect((await given).message).toBe("enough")
  })

  it("a name is looked up, and a connection that cannot be made is an error", async () => {
    const { url } = await text()
    const handle = new DurableStream({ url: url.replace("127.0.0.1", "localhost"), contentType: "text/plain" })
    await handle.append("a")
    expect(await read(handle)).toBe("a")
    const nobody = new DurableStream({ url: "http://127.0.0.1:1/s", backoffOptions: { maxRetries: 0 } })
    expect((await failure(nobody.head())).message).toContain("Connection refused")
  })

  it("addresses that are not in their plain form are carried as ever", async () => {
    const handle = await text()
    const odd = new DurableStream({ url: handle.url.replace("/v1/", "/v1/./"), contentType: "text/plain" })
    await odd.append("a")
    const named = new DurableStream({ url: handle.url.replace("http://", "HTTP://user:word@"), contentType: "text/plain" })
    await named.append("b")
    expect(await read(handle)).toBe("ab")
  })

  it("a process ends with its connections open, and waits for calls", async () => {
    const { url } = await text()
    const program = `
      const { DurableStream } = require("everstream")
      const handle = new DurableStream({ url: ${JSON.stringify(url)}, contentType: "text/plain" })
      handle.append("a").then(() => { console.log("stored"); handle.append("b") })`
    expect(await output(process.execPath, ["-e", program], { cwd: PACKAGE })).toBe("stored\n")
    expect(await read(new DurableStream({ url }))).toBe("ab")
  })

  it("a worker may be terminated in the middle of many", async () => {
    const { url } = await text()
    const work = `
      const { workerData: url, parentPort } = require("node:worker_threads")
      const { DurableStream } = require("everstream")
      const loop = async (handle) => {
        for (;;) {
          await handle.append("abcd")
          parentPort.postMessage("stored")
        }
      }
      for (let i = 0; i < 8; i += 1) loop(new DurableStream({ url, contentType: "text/plain" }))`
    for (let round = 0; round < 10; round += 1) {
      const worker = new Worker(work, { eval: true, workerData: url })
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject))
      await worker.terminate()
    }
    const stored = await read(new DurableStream({ url }))
    expect(stored.length).toBeGreaterThanOrEqual(40)
    expect(stored).toBe("abcd".repeat(stored.length / 4))
  })

  it("continues in the context of the caller", async () => {
    const { AsyncLocalStorage } = await import("node:async_hooks")
    const storage = new AsyncLocalStorage<number>()
    const handle = await DurableStream.create({ url: address(), contentType: "text/plain" })
    const seen = await Promise.all([1, 2, 3].map((number) => storage.run(number, async () => {
      await handle.append("a")
      return storage.getStore()
    })))
    expect(seen).toEqual([1, 2, 3])
  })
})
