import { DurableStreamTestServer } from "@durable-streams/server"
import { DurableStream, IdempotentProducer, StreamClosedError, StreamNotFoundError, type LiveMode } from "everstream"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

import { failure } from "./support.js"

const server = new DurableStreamTestServer({ port: 0, longPollTimeout: 500 })
let base: string
let made = 0

beforeAll(async () => {
  base = await server.start()
})
afterAll(() => server.stop())

const create = (contentType?: string) =>
  DurableStream.create({ url: `${base}/v1/stream/o${(made += 1)}`, ...(contentType && { contentType }) })

describe("the official server", () => {
  it.each<LiveMode>([true, "long-poll", "sse"])("is read live, to the end (live: %s)", async (live) => {
    const handle = await create("application/json")
    const producer = new IdempotentProducer(handle, "p")
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
    expect(items).toEqual([0, 1, 2, 3, 4, 5])
  })

  it.each<LiveMode>([false, "long-poll", "sse"])("is read as bytes (live: %s)", async (live) => {
    const handle = await create()
    const data = Uint8Array.from({ length: 1000 }, (_, i) => i % 256)
    await handle.append(data)
    expect(await (await handle.stream({ live })).body()).toEqual(data)
  })

  it("gives the same errors", async () => {
    const handle = await create("text/plain")
    await handle.append("x")
    const { finalOffset } = await handle.close()
    const late = await failure<StreamClosedError>(handle.append("y"))
    expect(late).toBeInstanceOf(StreamClosedError)
    expect(late.finalOffset).toBe(finalOffset)
    await handle.delete()
    expect(await failure(handle.head())).toBeInstanceOf(StreamNotFoundError)
  })

  it("sees plain appends in their order", async () => {
    const handle = await create("application/json")
    await Promise.all(Array.from({ length: 200 }, (_, i) => handle.append(String(i))))
    expect(await (await handle.stream({ live: false })).json()).toEqual(Array.from({ length: 200 }, (_, i) => i))
  })
})
