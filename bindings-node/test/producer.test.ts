import { DurableStream, FetchError, IdempotentProducer, StaleEpochError } from "everstream"
import { describe, expect, it, vi } from "vitest"

import { failure, until, useServer } from "./support.js"

const { server, address, json, text } = useServer()

async function stored(stream: DurableStream): Promise<unknown[]> {
  return (await stream.stream({ live: false })).json()
}

describe("append", () => {
  it("stores every message once, in order, and gives receipts to who wants them", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p")
    for (let i = 0; i < 1000; i += 1) {
      producer.append(`{"i":${i}}`)
    }
    const receipt = await producer.append({ i: 1000 })
    expect(receipt).toMatchObject({ duplicate: false, offset: expect.any(String) as string })
    await producer.flush()
    expect(producer.pendingCount).toBe(0)
    expect(producer.lastSuccessfulOffset).toBe((await stream.head()).offset)
    expect(await stored(stream)).toEqual(Array.from({ length: 1001 }, (_, i) => ({ i })))
  })

  it("a handle that knows no content type is asked for it", async () => {
    const { url } = await json()
    const producer = new IdempotentProducer(new DurableStream({ url }), "p")
    producer.append("1")
    await producer.detach()
    expect(await stored(new DurableStream({ url }))).toEqual([1])
  })

  it("refuses at the call", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p")
    expect(() => producer.append("{")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }))
    await producer.detach()
    expect(() => producer.append("1")).toThrow(expect.objectContaining({ code: "ALREADY_CLOSED" }))
    for (const [options, message] of [
      [{ epoch: -1 }, "epoch must be >= 0"],
      [{ maxBatchBytes: 0 }, "maxBatchBytes must be > 0"],
      [{ maxInFlight: 0 }, "maxInFlight must be > 0"],
      [{ lingerMs: -1 }, "lingerMs must be >= 0"],
    ] as const) {
      expect(() => new IdempotentProducer(stream, "p", options)).toThrow(message)
    }
  })

  it("messages beyond the buffer wait in their order, or are refused", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p", { maxBufferedBytes: 200, lingerMs: 0 })
    const full = () => {
      for (;;) {
        producer.tryAppend('"x"')
      }
    }
    expect(full).toThrow(expect.objectContaining({ code: "BUFFER_FULL" }))
    const receipts = Array.from({ length: 100 }, (_, i) => producer.append(String(i)))
    await producer.send("100")
    await producer.flush()
    const items = await stored(stream)
    expect(items.filter((it) => it !== "x")).toEqual(Array.from({ length: 101 }, (_, i) => i))
    expect((await Promise.all(receipts)).every((it) => !it.duplicate)).toBe(true)
  })
})

describe("messages of one turn of the event loop", () => {
  it("are stored in the order of the calls, whatever they are, and have the receipts of their batches", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p", { maxBatchItems: 3, lingerMs: 10_000 })
    const messages: [unknown, unknown][] = []
    for (let i = 0; i < 30; i += 1) {
      messages.push([`{"i": ${i}, "text": "a \\"b\\" \\u00e9 é 🙂"}`, { i, text: 'a "b" é é 🙂' }])
      messages.push([{ i, nested: [{ of: { values: [i] } }] }, { i, nested: [{ of: { values: [i] } }] }])
      messages.push([`{\n"i": ${i},\t"deep": [[[[${i}]]]]\n}`, { i, deep: [[[[i]]]] }])
      messages.push([new TextEncoder().encode(`"bytes ${i}"`), `bytes ${i}`])
      messages.push([`"${"long".repeat(2000)}"`, "long".repeat(2000)])
    }
    const deliveries = messages.map(([message]) => producer.append(message as string))
    const values = Array.from({ length: 30 }, (_, i) => producer.appendJson(`line\n${i}`))
    const receipts = await Promise.all([...deliveries, ...values])
    await producer.flush()
    const expected = [...messages.map(([, value]) => value), ...values.map((_, i) => `line\n${i}`)]
    expect(await stored(stream)).toEqual(expected)
    const offsets = receipts.map(({ offset }) => offset)
    expect(offsets).toEqual([...offsets].sort())
    const perBatch = new Set(offsets.map((offset) => offsets.filter((it) => it === offset).length))
    expect(perBatch).toEqual(new Set([3]))
  })

  it("are refused at the call one by one, and the others go on", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p")
    const refused = [
      "{", '{"a":1,}', "[1,]", "[1 2]", "1,2", "1\n2", '{"a"}', '"\n"', '"\u0000"', "01", "", "[,]", "{,}", '{"a":1 "b":2}', '"\\x"',
      "tru", "-", "1.", "+1", ".5", "1e", "NaN", "'a'", "[".repeat(500), '{"a":1,'.repeat(500), '"\\u12"', "\ufeff1",
    ]
    producer.append("0")
    for (const [i, text] of refused.entries()) {
      expect(() => producer.append(text), text).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }))
      producer.append(String(i + 1))
    }
    expect(await producer.flush()).toMatchObject({ messages: refused.length + 1 })
    expect(await stored(stream)).toEqual(Array.from({ length: refused.length + 1 }, (_, i) => i))
  })

  it("are there for who looks in the same turn", async () => {
    const producer = new IdempotentProducer(await json(), "p", { lingerMs: 60_000 })
    producer.append("1")
    producer.append("2")
    producer.append("3")
    expect([producer.pendingCount, producer.bufferedBytes]).toEqual([3, 6])
    producer.append("4")
    expect([producer.nextSeq, producer.inFlightCount, producer.bufferedBytes]).toEqual([0, 0, 8])
    await producer.detach()
  })

  it("that come after the producer has stopped are told by their receipts and the next flush", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p", { lingerMs: 0 })
    await stream.close()
    const receipts: Promise<unknown>[] = []
    const pause = new Int32Array(new SharedArrayBuffer(4))
    // The event loop stands still; the producer's own thread hears of the closed stream meanwhile.
    const appendUntilItThrows = () => {
      for (;;) {
        receipts.push(producer.append('"x"'))
        expect(producer.pendingCount).toBeGreaterThanOrEqual(0)
        Atomics.wait(pause, 0, 0, 1)
      }
    }
    expect(appendUntilItThrows).toThrow(expect.objectContaining({ code: "STREAM_CLOSED" }))
    const flushed = await failure<FetchError>(producer.flush())
    const listed = (flushed as unknown as { failures: { messages: number }[] }).failures
    expect(listed.reduce((sum, { messages }) => sum + messages, 0)).toBe(receipts.length)
    for (const receipt of receipts) {
      expect(await failure(Promise.resolve(receipt))).toMatchObject({ code: "STREAM_CLOSED" })
    }
  })
})

describe("what fails", () => {
  it("C1: is told by receipts, onError and the next flush, and never by an unhandled rejection", async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => unhandled.push(reason)
    process.on("unhandledRejection", note)
    const stream = await json()
    const errors: Error[] = []
    const producer = new IdempotentProducer(stream, "p", { lingerMs: 60_000, onError: (error) => errors.push(error) })
    await stream.close()
    producer.append("1")
    const asked = producer.append("2")
    const flushed = await failure<FetchError>(producer.flush())
    expect(flushed).toMatchObject({ code: "STREAM_CLOSED", failures: [{ firstMessage: 0, messages: 2 }] })
    expect(flushed).toBeInstanceOf(FetchError)
    expect(await failure(Promise.resolve(asked))).toMatchObject({ code: "STREAM_CLOSED" })
    expect(errors).toHaveLength(1)
    await new Promise((resolve) => setImmediate(resolve))
    process.off("unhandledRejection", note)
    expect(unhandled).toEqual([])
  })

  it("C2: a 403 without an epoch is not fencing", async () => {
    const { url } = await json()
    let requests = 0
    const fetch: typeof globalThis.fetch = async (input, init) => {
      if (init?.method === "POST") {
        requests += 1
        return new Response("no", { status: 403 })
      }
      return globalThis.fetch(input, init)
    }
    const stream = new DurableStream({ url, contentType: "application/json", fetch })
    const producer = new IdempotentProducer(stream, "p", { autoClaim: true })
    producer.append("1")
    expect(await failure(producer.flush())).toMatchObject({ code: "FORBIDDEN" })
    expect(requests).toBe(1)
  })

  it("a producer that another one replaced is stopped, unless it is to take over", async () => {
    const stream = await json()
    const first = new IdempotentProducer(stream, "p")
    await first.append("1")
    const second = new IdempotentProducer(stream, "p", { epoch: 1 })
    await second.append("2")
    const fenced = await failure<StaleEpochError>(Promise.resolve(first.append("3")))
    expect(fenced).toBeInstanceOf(StaleEpochError)
    expect(fenced).toMatchObject({ code: "STALE_EPOCH", currentEpoch: 1, status: 403 })
    const third = new IdempotentProducer(stream, "p", { autoClaim: true })
    await third.append("4")
    expect(third.epoch).toBe(2)
    expect(await stored(stream)).toEqual([1, 2, 4])
  })
})

describe("the end", () => {
  it("close ends the stream, with a last message, and can be repeated", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p")
    producer.append("1")
    const closed = await producer.close("2")
    expect(await producer.close()).toEqual(closed)
    expect(await stream.head()).toMatchObject({ streamClosed: true, offset: closed.finalOffset })
    expect(await stored(stream)).toEqual([1, 2])
  })

  it("detach and `await using` leave it open", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p")
    producer.append("1")
    await producer[Symbol.asyncDispose]()
    expect((await stream.head()).streamClosed).toBe(false)
    expect(await stored(stream)).toEqual([1])
  })

  it("restart goes on under the next epoch", async () => {
    const stream = await json()
    const producer = new IdempotentProducer(stream, "p")
    await producer.append("1")
    await producer.restart()
    await producer.append("2")
    expect([producer.epoch, producer.nextSeq]).toEqual([1, 1])
  })

  it("an abort stops it", async () => {
    const stream = await json()
    const controller = new AbortController()
    const producer = new IdempotentProducer(stream, "p", { signal: controller.signal })
    producer.append("1")
    const reason = new Error("stop")
    const flushing = producer.flush()
    controller.abort(reason)
    expect(await failure(flushing)).toBe(reason)
    expect(() => producer.append("2")).toThrow(reason)
  })

  it("an abort takes back what is not sent, and ends the requests under way", async () => {
    const signals: (AbortSignal | null | undefined)[] = []
    const fetch = vi.fn((_url: unknown, init?: RequestInit) => {
      signals.push(init?.signal)
      return new Promise<Response>(() => {})
    })
    const stream = new DurableStream({ url: "https://example.com/stream", contentType: "application/json", fetch })
    const controller = new AbortController()
    const errors: Error[] = []
    const producer = new IdempotentProducer(stream, "p", {
      signal: controller.signal,
      lingerMs: 0,
      maxInFlight: 1,
      onError: (error) => errors.push(error),
    })
    const sent = producer.append("1")
    await until(() => signals.length === 1)
    const unsent = producer.append("2")
    controller.abort()
    expect(await failure(Promise.resolve(sent))).toMatchObject({ code: "CANCELLED", outcomeUnknown: true })
    expect(await failure(Promise.resolve(unsent))).toMatchObject({ code: "CANCELLED", outcomeUnknown: false })
    await until(() => signals[0]?.aborted === true)
    expect(producer.pendingCount).toBe(0)
    expect(errors).toMatchObject([{ message: "Producer aborted" }])
    expect(fetch).toHaveBeenCalledTimes(1)
  })

  it("an abort before the stream is known takes everything back", async () => {
    const { url } = await json()
    server.injectFault(new URL(url).pathname, { method: "HEAD", delayMs: 200 })
    const controller = new AbortController()
    const producer = new IdempotentProducer(new DurableStream({ url }), "p", { signal: controller.signal })
    const delivery = producer.append("1")
    controller.abort()
    expect(await failure(Promise.resolve(delivery))).toMatchObject({ code: "CANCELLED" })
    const other = new IdempotentProducer(new DurableStream({ url }), "q")
    await other.append("2")
    expect(await stored(new DurableStream({ url }))).toEqual([2])
  })
})

describe("writable", () => {
  it("closes the stream when it is closed", async () => {
    const stream = await text()
    const writer = stream.writable().getWriter()
    await writer.write("a")
    await writer.write(new TextEncoder().encode("b"))
    await writer.close()
    expect(await (await stream.stream()).text()).toBe("ab")
    expect((await stream.head()).streamClosed).toBe(true)
  })

  it("C14: has backpressure", async () => {
    const stream = await text()
    server.injectFault(new URL(stream.url).pathname, { method: "POST", delayMs: 300 })
    const writer = stream.writable({ maxBufferedBytes: 500 }).getWriter()
    let written = 0
    const writes = Array.from({ length: 50 }, () => writer.write("x".repeat(100)).then(() => (written += 1)))
    await until(() => written > 0)
    expect(writer.desiredSize).toBeLessThanOrEqual(0)
    expect(written).toBeLessThan(50)
    await Promise.all(writes)
    await writer.close()
    expect((await (await stream.stream()).text()).length).toBe(5000)
  })

  it("leaves the stream open when it is aborted", async () => {
    const stream = await text()
    const writer = stream.writable().getWriter()
    await writer.write("a")
    await writer.abort()
    await until(async () => (await (await stream.stream({ live: false })).text()) === "a")
    expect((await stream.head()).streamClosed).toBe(false)
  })
})

describe("addresses", () => {
  it("C11: params, headers and fetch of the stream are the producer's", async () => {
    const requests: { url: string; headers: Record<string, string> }[] = []
    const url = address()
    const fetch: typeof globalThis.fetch = (input, init) => {
      requests.push({ url: String(input), headers: init?.headers as Record<string, string> })
      return globalThis.fetch(input, init)
    }
    const stream = await DurableStream.create({
      url,
      contentType: "application/json",
      fetch,
      params: { tenant: "t" },
      headers: { "X-Of-Stream": "1" },
    })
    const producer = new IdempotentProducer(stream, "p", { headers: { "X-Of-Producer": () => "2" } })
    await producer.append("1")
    expect(requests.at(-1)?.url).toBe(`${url}?tenant=t`)
    expect(requests.at(-1)?.headers).toMatchObject({ "X-Of-Stream": "1", "X-Of-Producer": "2", "Producer-Id": "p" })
  })
})
