import { DurableStream, IdempotentProducer, StreamNotFoundError, stream } from "everstream"
import { getGlobalDispatcher, MockAgent, setGlobalDispatcher } from "undici"
import { afterEach, describe, expect, it, vi } from "vitest"

import { failure, useServer } from "./support.js"

const { address, json, bytes } = useServer()

const URL_OF_MOCK = "https://example.com/stream"

function answer(body: BodyInit | null, headers: Record<string, string> = {}, status = 200): Response {
  return new Response(body, { status, headers })
}

const caughtUp = { "content-type": "application/json", "Stream-Next-Offset": "1_1", "Stream-Up-To-Date": "true" }

type Call = [string, RequestInit & { headers: Record<string, string> }]

describe("a given fetch", () => {
  it("carries reads: string URL, method, plain headers as they were given, signal", async () => {
    const fetch = vi.fn().mockResolvedValue(answer('[{"a":1}]', caughtUp))
    const response = await stream({
      url: URL_OF_MOCK,
      fetch,
      offset: "0_1",
      headers: { Authorization: "Bearer x", "X-Later": async () => "y" },
      params: { tenant: () => "t" },
    })
    // Nobody has asked for more.
    expect(fetch).toHaveBeenCalledTimes(1)
    const [url, init] = fetch.mock.calls[0] as Call
    expect(url).toBe(`${URL_OF_MOCK}?offset=0_1&tenant=t`)
    expect(init).toMatchObject({ method: "GET", headers: { Authorization: "Bearer x", "X-Later": "y" } })
    expect(Object.getPrototypeOf(init.headers)).toBe(Object.prototype)
    expect(init.signal).toBeInstanceOf(AbortSignal)
    expect(response).toMatchObject({ status: 200, ok: true, contentType: "application/json", upToDate: true })
    expect(response.headers.get("stream-next-offset")).toBe("1_1")
    expect(await response.json()).toEqual([{ a: 1 }])
    expect(response.offset).toBe("1_1")
    expect(fetch).toHaveBeenCalledTimes(1)
  })

  it("carries writes: text for JSON, the names of headers of the official client", async () => {
    const fetch = vi.fn(async () => answer(null, { "Stream-Next-Offset": "1_1" }, 204))
    const handle = new DurableStream({ url: URL_OF_MOCK, fetch, contentType: "application/json" })
    await handle.append({ a: 1 }, { seq: "s1" })
    const [url, init] = fetch.mock.calls[0] as unknown as Call
    expect(url).toBe(URL_OF_MOCK)
    expect(init).toMatchObject({ method: "POST", body: '[{"a":1}]' })
    expect(init.headers).toMatchObject({ "content-type": "application/json", "Stream-Seq": "s1" })
    await handle.create({ ttlSeconds: 5 })
    expect((fetch.mock.calls[1] as unknown as Call)[1]).toMatchObject({ method: "PUT", headers: { "Stream-TTL": "5" } })
    const binary = new DurableStream({ url: URL_OF_MOCK, fetch, contentType: "application/octet-stream" })
    await binary.append(new Uint8Array([1]))
    expect((fetch.mock.calls[2] as unknown as Call)[1].body).toEqual(new Uint8Array([1]))
  })

  it("may answer with the least that a mock has", async () => {
    const fetch = vi.fn().mockResolvedValue({
      ok: true,
      status: 200,
      headers: new Map(Object.entries({ "content-type": "text/plain", "stream-next-offset": "1", "stream-up-to-date": "true" })),
      text: async () => "abc",
    })
    expect(await (await stream({ url: URL_OF_MOCK, fetch, live: false })).text()).toBe("abc")
    const head = vi.fn().mockResolvedValue(answer(null, { "content-type": "text/plain" }))
    expect(await DurableStream.head({ url: URL_OF_MOCK, fetch: head })).toMatchObject({ exists: true, contentType: "text/plain" })
  })

  it("that fails is told of, with what it threw as the cause", async () => {
    const broken = new TypeError("fetch failed")
    const fetch = vi.fn().mockRejectedValue(broken)
    const backoffOptions = { initialDelay: 1, maxDelay: 1, maxRetries: 2 }
    const failed = await failure(stream({ url: URL_OF_MOCK, fetch, backoffOptions }))
    expect(failed).toMatchObject({ code: "NETWORK_ERROR", message: expect.stringContaining("fetch failed") as string })
    expect(failed.cause).toBe(broken)
    expect(fetch).toHaveBeenCalledTimes(3)
    const missing = vi.fn().mockResolvedValue(answer("no", {}, 404))
    expect(await failure(stream({ url: URL_OF_MOCK, fetch: missing }))).toBeInstanceOf(StreamNotFoundError)
  })

  it("is aborted when nobody wants its answer any more", async () => {
    let signal: AbortSignal | null | undefined
    const fetch = vi.fn((_url: unknown, init?: RequestInit) => {
      signal = init?.signal
      return new Promise<Response>((_, reject) => signal?.addEventListener("abort", () => reject(signal?.reason)))
    })
    const controller = new AbortController()
    const reading = stream({ url: URL_OF_MOCK, fetch, signal: controller.signal })
    await vi.waitFor(() => expect(fetch).toHaveBeenCalled())
    controller.abort(new Error("enough"))
    expect(await failure(reading)).toMatchObject({ message: "enough" })
    await vi.waitFor(() => expect(signal?.aborted).toBe(true))
  })

  it("reads live, by long-poll and by events", async () => {
    for (const live of ["long-poll", "sse"] as const) {
      const handle = await json({ body: [1] })
      const fetch = vi.fn((...args: Parameters<typeof globalThis.fetch>) => globalThis.fetch(...args))
      const items: unknown[] = []
      for await (const item of await stream({ url: handle.url, fetch, live })) {
        items.push(item)
        await (items.length < 3 ? handle.append(String(items.length + 1)) : handle.close())
      }
      expect(items).toEqual([1, 2, 3])
      expect(fetch.mock.calls.some(([url]) => String(url).includes(`live=${live}`))).toBe(true)
    }
  })

  it("carries producers and streamed bodies", async () => {
    const fetch: typeof globalThis.fetch = (...args) => globalThis.fetch(...args)
    const { url } = await bytes()
    const handle = new DurableStream({ url, fetch })
    const producer = new IdempotentProducer(handle, "p")
    await Promise.all(Array.from({ length: 100 }, () => producer.append("x")))
    await handle.appendStream((async function* () {
      yield "y"
      yield "z"
    })())
    expect(await (await handle.stream({ live: false })).text()).toBe(`${"x".repeat(100)}yz`)
  })
})

describe("what tests written for the official client count on", () => {
  const ok = (offset?: string) => answer(null, offset === undefined ? {} : { "Stream-Next-Offset": offset })

  it("a write is one call, whatever is known of the stream", async () => {
    const fetch = vi.fn().mockImplementation(async () => ok())
    const handle = new DurableStream({ url: URL_OF_MOCK, fetch })
    await handle.append("data", { seq: "w1" })
    await handle.appendStream((async function* () {
      yield "chunk"
    })())
    expect(fetch).toHaveBeenCalledTimes(2)
    expect((fetch.mock.calls[0] as Call)[1].body).toBe("data")
    expect((fetch.mock.calls[1] as Call)[1].body).toBeInstanceOf(ReadableStream)
  })

  it("any success is one", async () => {
    const fetch = vi.fn().mockResolvedValue(answer("[]", { "content-type": "application/json", "Stream-Next-Offset": "1" }, 201))
    const asked = vi.fn().mockReturnValue("Bearer x")
    const response = await stream({ url: URL_OF_MOCK, fetch, headers: { Authorization: asked } })
    expect(response).toMatchObject({ ok: true, status: 201, offset: "1", startOffset: "-1", isLoading: false })
    expect(asked).toHaveBeenCalledOnce()
  })

  it("backoffOptions.onFailedAttempt is called for each try that failed", async () => {
    const onFailedAttempt = vi.fn()
    const fetch = vi.fn().mockImplementation(async () => answer("no", {}, 500))
    const backoffOptions = { initialDelay: 1, maxDelay: 2, multiplier: 1, maxRetries: 2, onFailedAttempt }
    await failure(stream({ url: URL_OF_MOCK, fetch, backoffOptions }))
    await vi.waitFor(() => expect(onFailedAttempt).toHaveBeenCalledTimes(3))
  })

  it("and for each that has no answer in time", async () => {
    const onFailedAttempt = vi.fn()
    const fetch = vi.fn(() => new Promise<Response>(() => {}))
    const backoffOptions = { initialDelay: 1, maxDelay: 2, multiplier: 1, maxRetries: 2, onFailedAttempt }
    const handle = new DurableStream({ url: URL_OF_MOCK, fetch, timeoutMs: 20, backoffOptions })
    expect(await failure(handle.head())).toMatchObject({ code: "TIMEOUT" })
    await vi.waitFor(() => expect(onFailedAttempt).toHaveBeenCalledTimes(3))
    expect(fetch).toHaveBeenCalledTimes(3)
    const producer = new IdempotentProducer(handle, "p", { timeoutMs: 20 })
    producer.append("x")
    await vi.waitFor(() => expect(onFailedAttempt.mock.calls.length).toBeGreaterThanOrEqual(5))
    expect(producer.pendingCount).toBe(1)
  })

  it("a producer with autoClaim makes no call but its batches, one of them until it is known to be the only one", async () => {
    let first: (response: Response) => void = () => {}
    const fetch = vi
      .fn()
      .mockReturnValueOnce(new Promise<Response>((resolve) => (first = resolve)))
      .mockResolvedValue(ok("0_2"))
    const handle = new DurableStream({ url: URL_OF_MOCK, contentType: "text/plain" })
    const producer = new IdempotentProducer(handle, "p", { fetch, autoClaim: true, maxBatchBytes: 1 })
    producer.append("a")
    await vi.waitFor(() => expect(fetch).toHaveBeenCalledTimes(1))
    producer.append("b")
    const flushed = producer.flush()
    first(ok("0_1"))
    await flushed
    const calls = fetch.mock.calls as Call[]
    expect(calls.map(([, init]) => [init.method, init.headers["Producer-Seq"]])).toEqual([["POST", "0"], ["POST", "1"]])
    expect(producer.lastSuccessfulOffset).toBe("0_2")
  })

  it("a close that is answered with 200 is done", async () => {
    const fetch = vi.fn().mockImplementation(async () => ok("0_2"))
    const handle = new DurableStream({ url: URL_OF_MOCK, contentType: "text/plain" })
    const producer = new IdempotentProducer(handle, "p", { fetch })
    expect(await producer.close("last")).toEqual({ finalOffset: "0_2" })
    expect(producer.lastSuccessfulOffset).toBe("0_2")
  })

  it("offsets may count without leading zeros", async () => {
    let count = 8
    const fetch = vi.fn(async () => {
      count += 1
      const tail: Record<string, string> = count === 11 ? { "Stream-Up-To-Date": "true" } : {}
      return answer(`[${count}]`, { "content-type": "application/json", "Stream-Next-Offset": `${count}_0`, ...tail })
    })
    const response = await stream({ url: URL_OF_MOCK, fetch, offset: "8_0", live: "long-poll" })
    expect(await response.json()).toEqual([9, 10, 11])
    expect(response.offset).toBe("11_0")
  })

  it("the first answer may be events, where the stream is known to be JSON", async () => {
    const events = 'event: data\ndata: [1]\n\nevent: control\ndata: {"streamNextOffset":"1_1","streamClosed":true}\n\n'
    const fetch = vi.fn().mockResolvedValueOnce(answer(events, { "content-type": "text/event-stream" }))
    const response = await stream({ url: URL_OF_MOCK, fetch, live: "sse", json: true })
    expect(await response.json()).toEqual([1])
    expect(response).toMatchObject({ offset: "1_1", streamClosed: true })
    expect(fetch).toHaveBeenCalledTimes(1)
  })

  it("a read is over once its last piece is taken, and not only when more was asked for", async () => {
    const tail = { "content-type": "text/plain", "Stream-Next-Offset": "1_1", "Stream-Up-To-Date": "true" }
    for (const [live, headers] of [[true, { ...tail, "Stream-Closed": "true" }], [false, tail]] as const) {
      const fetch = vi.fn().mockResolvedValueOnce(answer("abc", headers))
      const response = await stream({ url: URL_OF_MOCK, fetch, live })
      const reader = response.textStream().getReader()
      expect(await reader.read()).toEqual({ done: false, value: "abc" })
      await response.closed
      expect(await reader.read()).toMatchObject({ done: true })
    }
  })

  it("a producer refuses numbers that are none", () => {
    const handle = new DurableStream({ url: URL_OF_MOCK })
    for (const maxInFlight of [NaN, 0.5, 0, -1]) {
      expect(() => new IdempotentProducer(handle, "p", { maxInFlight }), String(maxInFlight)).toThrow()
    }
  })

  it("a producer's last offset does not go back when answers come out of order", async () => {
    let first: (response: Response) => void = () => {}
    const fetch = vi
      .fn()
      .mockReturnValueOnce(new Promise<Response>((resolve) => (first = resolve)))
      .mockResolvedValueOnce(ok("0_2"))
    const handle = new DurableStream({ url: URL_OF_MOCK, contentType: "text/plain" })
    const producer = new IdempotentProducer(handle, "p", { fetch, maxBatchBytes: 1 })
    producer.append("a")
    producer.append("b")
    const flushed = producer.flush()
    await vi.waitFor(() => expect(producer.lastSuccessfulOffset).toBe("0_2"))
    first(ok("0_1"))
    await flushed
    expect(producer.lastSuccessfulOffset).toBe("0_2")
  })
})

describe("a replaced globalThis.fetch", () => {
  afterEach(() => void vi.unstubAllGlobals())

  it("is called, as long as it is there", async () => {
    const { url } = await json({ body: [1] })
    const fetch = vi.fn().mockImplementation(async () => answer("[2]", caughtUp))
    vi.stubGlobal("fetch", fetch)
    expect(await (await stream({ url, live: false })).json()).toEqual([2])
    expect(fetch).toHaveBeenCalledTimes(1)
    vi.unstubAllGlobals()
    expect(await (await stream({ url, live: false })).json()).toEqual([1])
    expect(fetch).toHaveBeenCalledTimes(1)
  })
})

describe("a dispatcher that was set for the platform's fetch", () => {
  it("answers instead of a server, as long as it is there", async () => {
    const { url } = await json({ body: [1] })
    const before = getGlobalDispatcher()
    const agent = new MockAgent()
    agent.disableNetConnect()
    const headers = { "content-type": "application/json", "stream-next-offset": "1", "stream-up-to-date": "true" }
    agent.get(new URL(url).origin).intercept({ path: /./, method: "GET" }).reply(200, "[2]", { headers })
    setGlobalDispatcher(agent)
    try {
      expect(await (await stream({ url, live: false })).json()).toEqual([2])
      agent.assertNoPendingInterceptors()
    } finally {
      setGlobalDispatcher(before)
      await agent.close()
    }
    expect(await (await stream({ url, live: false })).json()).toEqual([1])
  })
})

describe("functions of the caller's", () => {
  it("header and parameter functions are asked for each request", async () => {
    const handle = await json({ body: [1] })
    let asked = 0
    const response = await stream({
      url: handle.url,
      live: "long-poll",
      headers: { "X-Count": () => String((asked += 1)) },
    })
    const iterator = response[Symbol.asyncIterator]()
    await iterator.next()
    const next = iterator.next()
    await handle.append("2")
    await next
    response.cancel()
    expect(asked).toBeGreaterThanOrEqual(2)
  })

  it("C15: onError mends the first request and later ones", async () => {
    let token = "old"
    let requests = 0
    const fetch = vi.fn(async (_url: unknown, init?: RequestInit) => {
      requests += 1
      const { Authorization } = init?.headers as Record<string, string>
      // A token that worked once is refused later.
      const bad = Authorization === "old" || (Authorization === "new" && requests > 3)
      if (bad) {
        return answer("no", {}, 401)
      }
      const done = Authorization === "newest" ? { "Stream-Up-To-Date": "true", "Stream-Closed": "true" } : {}
      const offset = Authorization === "newest" ? "2" : "1"
      return answer(`[${offset}]`, { "content-type": "application/json", "Stream-Next-Offset": offset, ...done })
    })
    const onError = vi.fn(async (_error: Error) => {
      token = token === "old" ? "new" : "newest"
      return { headers: { Authorization: token } }
    })
    const response = await stream({ url: URL_OF_MOCK, fetch, headers: { Authorization: token }, onError })
    expect(onError).toHaveBeenCalledTimes(1)
    expect(onError.mock.calls[0]?.[0]).toMatchObject({ code: "UNAUTHORIZED", status: 401 })
    const items: unknown[] = []
    for await (const item of response) {
      items.push(item)
    }
    expect(items.at(-1)).toBe(2)
    expect(onError).toHaveBeenCalledTimes(2)
  })

  it("what they throw is what the call fails with", async () => {
    const broken = new Error("no token")
    const headers = {
      Authorization: () => {
        throw broken
      },
    }
    expect(await failure(stream({ url: address(), headers }))).toBe(broken)
    expect(await failure(new DurableStream({ url: address(), headers }).head())).toBe(broken)
    const onError = () => {
      throw broken
    }
    expect(await failure(stream({ url: address(), onError }))).toBe(broken)
  })
})
