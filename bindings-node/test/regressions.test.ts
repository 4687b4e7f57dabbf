/** Defects of the official client that need a server which misbehaves. Others stand beside what they are about. */
import { DurableStream, stream } from "everstream"
import { describe, expect, it } from "vitest"

import { event, scripted } from "./scripted.js"
import { failure, useServer } from "./support.js"

const { bytes } = useServer()

const JSON_TYPE = { "content-type": "application/json" }
const EVENTS = { "content-type": "text/event-stream" }

describe("regressions", () => {
  it("C3: giving up SSE for long-poll does not end the read", async () => {
    const { url, asked } = await scripted((response, query) => {
      if (query.get("live") === "sse") {
        // Each connection ends at once, as behind a proxy that buffers.
        response.writeHead(200, EVENTS).end(event.control({ streamNextOffset: "1", upToDate: true }))
      } else if (query.get("live") === "long-poll") {
        response.writeHead(200, { ...JSON_TYPE, "stream-next-offset": "2", "stream-closed": "true" }).end("[2]")
      } else {
        response.writeHead(200, { ...JSON_TYPE, "stream-next-offset": "1", "stream-up-to-date": "true" }).end("[1]")
      }
    })
    const response = await stream({ url, live: "sse", sseResilience: { backoffBaseDelay: 1, backoffMaxDelay: 1 } })
    const items: unknown[] = []
    response.subscribeJson((batch) => void items.push(...batch.items))
    await response.closed
    expect(items).toEqual([1, 2])
    expect(response.streamClosed).toBe(true)
    expect(asked.filter((it) => it.includes("live=sse"))).toHaveLength(3)
  })

  it("C4: an append that may have been stored before a 502 is not sent again, and the error says so", async () => {
    const { url, asked } = await scripted((response) => void response.writeHead(502).end())
    const handle = new DurableStream({ url, contentType: "application/json" })
    expect(await failure(handle.append("1"))).toMatchObject({ status: 502, outcomeUnknown: true })
    expect(asked).toEqual(["POST"])
  })

  it("C16: browsers may read how binary data is encoded in events", async () => {
    const { url } = await bytes({ body: new Uint8Array([1]) })
    const answer = await fetch(`${url}?offset=-1&live=sse`, { headers: { origin: "http://elsewhere.test" } })
    await answer.body?.cancel()
    expect(answer.headers.get("stream-sse-data-encoding")).toBe("base64")
    const exposed = answer.headers.get("access-control-expose-headers") ?? ""
    expect(exposed === "*" || exposed.toLowerCase().includes("stream-sse-data-encoding")).toBe(true)
  })

  it("C17: data of a connection that broke before it named the offset comes once", async () => {
    const { url, asked } = await scripted((response, query) => {
      const offset = query.get("offset")
      if (query.get("live") === null) {
        response.writeHead(200, { ...JSON_TYPE, "stream-next-offset": "0", "stream-up-to-date": "true" }).end("[]")
      } else if (offset === "0") {
        response.writeHead(200, EVENTS)
        const first = event.data([1]) + event.control({ streamNextOffset: "1", upToDate: true })
        response.write(first + event.data([2]), () => response.destroy())
      } else {
        const rest = event.data([2, 3]) + event.control({ streamNextOffset: "3", streamClosed: true, upToDate: true })
        response.writeHead(200, EVENTS).end(rest)
      }
    })
    const items: unknown[] = []
    for await (const item of await stream({ url, live: "sse", backoffOptions: { initialDelay: 1 } })) {
      items.push(item)
    }
    expect(items).toEqual([1, 2, 3])
    expect(asked.at(-1)).toContain("offset=1")
  })
})
