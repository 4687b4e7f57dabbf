import { DurableStream, FetchError, StreamClosedError, StreamExistsError, StreamNotFoundError } from "everstream"
import { describe, expect, it } from "vitest"

import { failure, useServer } from "./support.js"

const { address, json, text, bytes } = useServer()

describe("create", () => {
  it("is repeated without harm, and refuses another configuration", async () => {
    const url = address()
    const first = await DurableStream.create({ url, contentType: "application/json" })
    expect(first.created).toBe(true)
    expect(first.contentType).toBe("application/json")
    const second = await DurableStream.create({ url, contentType: "application/json" })
    expect(second.created).toBe(false)
    const refused = await failure(DurableStream.create({ url, contentType: "text/plain" }))
    expect(refused).toBeInstanceOf(StreamExistsError)
    expect(refused).toMatchObject({ code: "CONFLICT_EXISTS", status: 409, operation: "create" })
  })

  it("stores the initial content as it is", async () => {
    expect(await (await (await text({ body: "héllo" })).stream({ live: false })).text()).toBe("héllo")
    expect(await (await (await json({ body: [{ a: 1 }, 2] })).stream({ live: false })).json()).toEqual([{ a: 1 }, 2])
    const blob = new Blob([new Uint8Array([0, 255])])
    expect(await (await (await bytes({ body: blob })).stream({ live: false })).body()).toEqual(new Uint8Array([0, 255]))
  })

  it("makes closed streams, and forks", async () => {
    const source = await json({ body: [1, 2, 3], closed: true })
    expect((await source.head()).streamClosed).toBe(true)
    const fork = await json({ forkFrom: new URL(source.url).pathname, forkOffset: "-1", forkSubOffset: 2 }).catch(
      async () => json({ forkFrom: new URL(source.url).pathname }),
    )
    const items = await (await fork.stream({ live: false })).json()
    expect([1, 2, 3]).toEqual(expect.arrayContaining(items))
  })
})

describe("head", () => {
  it("tells what the server knows", async () => {
    const stream = await json({ ttlSeconds: 60, body: [1] })
    const head = await DurableStream.head({ url: stream.url })
    expect(head).toMatchObject({ exists: true, contentType: "application/json", streamClosed: false, ttlSeconds: 60 })
    expect(head.offset).toMatch(/\S/)
  })

  it("C13: connect fails when there is no stream", async () => {
    const missing = await failure(DurableStream.connect({ url: address() }))
    expect(missing).toBeInstanceOf(StreamNotFoundError)
    expect(missing).toBeInstanceOf(FetchError)
    expect(missing).toMatchObject({ code: "NOT_FOUND", status: 404, retryable: false, name: "StreamNotFoundError" })
  })
})

describe("append", () => {
  it("takes text, bytes and values", async () => {
    const stream = await json()
    await stream.append('{"text":1}')
    await stream.append(new TextEncoder().encode('{"bytes":2}'))
    await stream.append({ value: 3 })
    await stream.append(Promise.resolve("4"))
    await stream.appendJson("a string")
    await stream.append(null)
    const items = await (await stream.stream({ live: false })).json()
    expect(items).toEqual([{ text: 1 }, { bytes: 2 }, { value: 3 }, 4, "a string", null])
  })

  it("refuses at the call what is no JSON, and values on other streams", async () => {
    const stream = await json()
    expect(await failure(stream.append("{"))).toMatchObject({ code: "INVALID_ARGUMENT" })
    expect(await failure(stream.append(undefined as never))).toMatchObject({ code: "BAD_REQUEST" })
    expect(await failure((await text()).append({ a: 1 }))).toMatchObject({ code: "NOT_SUPPORTED" })
    expect(await (await stream.stream({ live: false })).json()).toEqual([])
  })

  it("keeps the order of calls that nobody waits between", async () => {
    const stream = await json()
    const results = await Promise.all(Array.from({ length: 500 }, (_, i) => stream.append(String(i))))
    expect(results.every((it) => typeof it.offset === "string")).toBe(true)
    expect(await (await stream.stream({ live: false })).json()).toEqual(Array.from({ length: 500 }, (_, i) => i))
  })

  it("C12: tells a closed stream apart", async () => {
    const stream = await text({ body: "x" })
    const { finalOffset } = await stream.close({ body: "y" })
    const late = await failure<StreamClosedError>(stream.append("z"))
    expect(late).toBeInstanceOf(StreamClosedError)
    expect(late).toBeInstanceOf(FetchError)
    expect(late).toMatchObject({ code: "STREAM_CLOSED", status: 409, finalOffset, streamClosed: true })
    expect(late.headers["stream-closed"]).toBe("true")
    expect(await stream.close()).toEqual({ finalOffset })
  })

  it("C10: an aborted append harms no other", async () => {
    const stream = await json()
    const controller = new AbortController()
    const appends = [stream.append("1"), stream.append("2", { signal: controller.signal }), stream.append("3")]
    controller.abort(new Error("not that one"))
    const results = await Promise.allSettled(appends)
    expect(results.map((it) => it.status)).toEqual(["fulfilled", "rejected", "fulfilled"])
    expect((results[1] as PromiseRejectedResult).reason).toMatchObject({ message: "not that one" })
    // It may have been on its way already.
    const items = await (await stream.stream({ live: false })).json()
    expect(items.filter((it) => it !== 2)).toEqual([1, 3])
  })

  it("C9: an aborted signal rejects with its reason, and nothing is sent", async () => {
    const reason = new Error("too late")
    const stream = new DurableStream({ url: address(), contentType: "text/plain" })
    expect(await failure(stream.append("x", { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(await failure(stream.head({ signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(await failure(stream.stream({ signal: AbortSignal.abort(reason) }))).toBe(reason)
  })

  it("sends the pieces of a source in one request, and fails with what the source throws", async () => {
    const stream = await text()
    await stream.appendStream((async function* () {
      yield "a"
      yield new TextEncoder().encode("b")
    })())
    await stream.appendStream(new Blob(["c"]).stream())
    expect(await (await stream.stream({ live: false })).text()).toBe("abc")
    const broken = new Error("the source broke")
    const failed = await failure(stream.appendStream((async function* () {
      yield "d"
      throw broken
    })()))
    expect([failed, failed.cause]).toContain(broken)
  })
})

describe("delete", () => {
  it("deletes once", async () => {
    const stream = await text()
    await stream.delete()
    expect(await failure(DurableStream.delete({ url: stream.url }))).toBeInstanceOf(StreamNotFoundError)
  })
})
