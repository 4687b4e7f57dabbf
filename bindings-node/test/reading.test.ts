import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

import { DurableStreamError, stream, type Checkpoint, type LiveMode } from "everstream"
import { describe, expect, it } from "vitest"

import { failure, until, useServer } from "./support.js"

const { address, json, text, bytes } = useServer()

const MODES: LiveMode[] = [false, "catch-up", true, "auto", "long-poll", "sse"]
const LIVE: LiveMode[] = [true, "long-poll", "sse"]

describe("to the tail", () => {
  it.each(MODES)("json(), text() and body() stop at the tail (live: %s)", async (live) => {
    const { url } = await json({ body: [1, { a: "ü" }] })
    expect(await (await stream({ url, live })).json()).toEqual([1, { a: "ü" }])
    expect(JSON.parse(await (await stream({ url, live })).text())).toEqual([1, { a: "ü" }])
    const data = new Uint8Array([1, 2, 250])
    const binary = await bytes({ body: data })
    expect(await (await binary.stream({ live })).body()).toEqual(data)
  })

  it("an empty stream gives nothing", async () => {
    const { url } = await json()
    const response = await stream({ url, live: false })
    expect(response.upToDate).toBe(true)
    expect(await response.json()).toEqual([])
    expect(await (await stream({ url, live: false })).text()).toBe("[]")
    expect(await (await (await text()).stream({ live: false })).text()).toBe("")
    await expect(response.closed).resolves.toBeUndefined()
  })

  it("is consumed once, and as JSON only if it is JSON", async () => {
    const plain = await (await text({ body: "x" })).stream({ live: false })
    expect(await failure(plain.json())).toMatchObject({ code: "BAD_REQUEST" })
    const response = await (await json({ body: [1] })).stream({ live: false })
    await response.json()
    const again = await failure<DurableStreamError>(response.json())
    expect(again).toBeInstanceOf(DurableStreamError)
    expect(again).toMatchObject({ code: "ALREADY_CONSUMED" })
    expect(() => response.bodyStream()).toThrow(/already being consumed via json/)
  })

  it("C8: large integers can be kept", async () => {
    const { url } = await json({ body: "[9007199254740993]" })
    const parse = (text: string) => [...text.matchAll(/\d+/g)].map(([digits]) => BigInt(digits))
    expect(await (await stream({ url, live: false, parse })).json()).toEqual([9007199254740993n])
    const reviver = (_key: string, value: unknown) => (typeof value === "number" ? -1 : value)
    expect(await (await stream({ url, live: false, reviver })).json()).toEqual([-1])
    expect(await (await stream({ url, live: false })).text()).toBe("[9007199254740993]")
  })
})

describe("live", () => {
  it.each(LIVE)("items arrive as they are appended, to the end (live: %s)", async (live) => {
    const handle = await json({ body: [0] })
    const response = await handle.stream<number>({ live })
    const items: number[] = []
    for await (const item of response) {
      items.push(item)
      if (item < 3) {
        await handle.append(String(item + 1))
      } else {
        await handle.close()
      }
    }
    expect(items).toEqual([0, 1, 2, 3])
    expect(response.streamClosed).toBe(true)
    expect(response.upToDate).toBe(true)
    expect(response.offset).toBe((await handle.head()).offset)
    await response.closed
  })

  it.each(LIVE)("bytes arrive unchanged (live: %s)", async (live) => {
    const handle = await bytes()
    const response = await handle.stream({ live })
    const reader = response.bodyStream().getReader()
    for (const data of [new Uint8Array([0, 1]), new Uint8Array([255])]) {
      await handle.append(data)
      expect((await reader.read()).value).toEqual(data)
    }
    await handle.close()
    expect((await reader.read()).done).toBe(true)
  })

  it.each(LIVE)("subscribers get batches one after the other, with where they are (live: %s)", async (live) => {
    const handle = await json({ body: [1, 2] })
    const response = await handle.stream<number>({ live })
    let busy = false
    const seen: { items: readonly number[]; offset: string; closed: boolean }[] = []
    response.subscribeJson(async (batch) => {
      expect(busy).toBe(false)
      busy = true
      await new Promise((resolve) => setImmediate(resolve))
      seen.push({ items: batch.items, offset: batch.offset, closed: batch.streamClosed })
      busy = false
    })
    await until(() => seen.length > 0)
    await handle.append("3")
    await handle.close()
    await response.closed
    expect(seen.flatMap((it) => it.items)).toEqual([1, 2, 3])
    expect(seen.at(-1)).toMatchObject({ offset: (await handle.head()).offset, closed: true })
  })

  it("ends at the tail of a stream that somebody leaves", async () => {
    const handle = await json({ body: [1] })
    const response = await handle.stream()
    for await (const item of response) {
      expect(item).toBe(1)
      break
    }
    await response.closed
  })

  it("C7: characters are not split", async () => {
    const handle = await text()
    const response = await handle.stream({ live: "long-poll" })
    const euro = new TextEncoder().encode("€")
    const texts: string[] = []
    response.subscribeText(({ text }) => void texts.push(text))
    for (const byte of euro) {
      await handle.append(new Uint8Array([byte]))
    }
    await handle.close()
    await response.closed
    expect(texts.join("")).toBe("€")
  })

  it("textStream and jsonStream are streams", async () => {
    const handle = await json({ body: [1, 2, 3], closed: true })
    const reader = (await handle.stream()).jsonStream().getReader()
    expect([await reader.read(), await reader.read()]).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
    ])
    const plain = await text({ body: "abc", closed: true })
    const parts: string[] = []
    for await (const part of (await plain.stream()).textStream()) {
      parts.push(part)
    }
    expect(parts.join("")).toBe("abc")
  })

  it("what a subscriber throws is what `closed` rejects with", async () => {
    const response = await (await json({ body: [1] })).stream()
    const broken = new Error("no")
    response.subscribeJson(() => {
      throw broken
    })
    expect(await failure(response.closed)).toBe(broken)
  })
})

describe("positions", () => {
  it("C6: the offset is that of what was handed over", async () => {
    const handle = await json({ body: [1, 2, 3], closed: true })
    const response = await handle.stream<number>()
    const iterator = response[Symbol.asyncIterator]()
    await iterator.next()
    expect(response.offset).toBe("-1")
    const checkpoint: Checkpoint = response.checkpoint()
    expect(checkpoint.skip).toBe(1)
    await iterator.next()
    await iterator.next()
    expect(response.offset).toBe((await handle.head()).offset)
    const rest = await handle.stream<number>({ offset: JSON.parse(JSON.stringify(checkpoint)) as Checkpoint })
    expect(await rest.json()).toEqual([2, 3])
  })

  it("starts at the tail, and where an offset says", async () => {
    const handle = await json({ body: [1] })
    const now = await handle.stream<number>({ offset: "now" })
    expect(now.offset).toBe((await handle.head()).offset)
    const next = now[Symbol.asyncIterator]().next()
    await handle.append("2")
    expect((await next).value).toBe(2)
    now.cancel()
    expect(await failure(handle.stream({ offset: "" }))).toMatchObject({ code: "INVALID_ARGUMENT" })
  })
})

describe("giving up", () => {
  it.each(LIVE)("a late abort rejects with the reason (live: %s)", async (live) => {
    const handle = await json()
    const controller = new AbortController()
    const response = await handle.stream({ live, signal: controller.signal })
    const next = response[Symbol.asyncIterator]().next()
    const reason = new Error("enough")
    controller.abort(reason)
    expect(await failure(next)).toBe(reason)
    await response.closed
  })

  it("an abort ends the wait between retries", async () => {
    const controller = new AbortController()
    const reading = stream({ url: "http://127.0.0.1:9/none", signal: controller.signal })
    const reason = new Error("enough")
    setImmediate(() => controller.abort(reason))
    expect(await failure(reading)).toBe(reason)
  })

  it("C5: retries of a single request have an end", async () => {
    const backoffOptions = { initialDelay: 1, maxDelay: 1, multiplier: 1, maxRetries: 2 }
    const failed = await failure(stream({ url: "http://127.0.0.1:9/none", backoffOptions }))
    expect(failed).toMatchObject({ code: "NETWORK_ERROR", retryable: true })
  })

  it("a cancelled read ends", async () => {
    const response = await (await json({ body: [1] })).stream()
    response.cancel()
    await response.closed
    expect(await response.json()).toEqual([])
  })

  it("needs an address", async () => {
    expect(await failure(stream({} as never))).toMatchObject({ code: "BAD_REQUEST" })
    expect(await failure(stream({ url: address() }))).toMatchObject({ status: 404 })
  })
})

describe("a read that rests", () => {
  it("may be told without end that there is nothing, and keeps none of it", async () => {
    setFlagsFromString("--expose-gc")
    const gc = runInNewContext("gc") as () => void
    const used = (): number => {
      gc()
      return process.memoryUsage().heapUsed
    }
    const { ItemIterator } = (await import("../dist/iterators.js")) as {
      ItemIterator: new (source: object) => AsyncIterator<number>
    }
    const rounds = 200_000
    let [pulled, before, after] = [0, 0, 0]
    const items = new ItemIterator({
      pull: async () => {
        pulled += 1
        if (pulled === 100) {
          before = used()
        } else if (pulled === rounds) {
          after = used()
        }
        return { last: false }
      },
      parse: () => (pulled === rounds ? [7] : []),
      checkAborted: () => {},
      handOver: () => {},
    })
    expect(await items.next()).toEqual({ done: false, value: 7 })
    expect(pulled).toBe(rounds)
    // A promise for each would be more than 100 bytes each.
    expect(after - before).toBeLessThan(rounds * 20)
  })
})
