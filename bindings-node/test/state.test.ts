/** `@durable-streams/state` over this package, as npm's `overrides` put it there: see state/package.json. */
import { DurableStream } from "everstream"
import { describe, expect, it } from "vitest"

import { createStateSchema, createStreamDB } from "./state/load.js"
import { until, useServer } from "./support.js"

const { json, server } = useServer()

interface User {
  id: string
  name: string
}

/** A validator of the kind that the package asks for; it takes everything. */
const anything = { "~standard": { version: 1, vendor: "test", validate: (value: unknown) => ({ value: value as User }) } } as const

const state = createStateSchema({ users: { schema: anything, type: "user", primaryKey: "id" } })

function change(operation: "insert" | "update" | "delete", value: User, txid?: string) {
  return { type: "user", key: value.id, value, headers: { operation, txid } }
}

describe("@durable-streams/state", () => {
  for (const live of [true, "sse", "long-poll"] as const) {
    it(`a collection follows the stream, live ${live}`, async () => {
      const stream = await json()
      await stream.append(change("insert", { id: "1", name: "Ada" }))
      await stream.append(change("insert", { id: "2", name: "Bob" }))

      const db = createStreamDB({ streamOptions: { url: stream.url, contentType: "application/json" }, live, state })
      await db.preload()
      const names = () => [...db.collections.users!.values()].map((user) => (user as User).name).sort()
      expect(names()).toEqual(["Ada", "Bob"])

      await stream.append(change("update", { id: "2", name: "Bea" }, "tx-1"))
      await db.utils.awaitTxId("tx-1")
      await stream.append(change("delete", { id: "1", name: "Ada" }))
      await until(() => names().length === 1)
      expect(names()).toEqual(["Bea"])
      expect(db.offset).toBe((await stream.head()).offset)
      db.close()
    })
  }

  it("its stream is ours, and can be written with", async () => {
    const { url } = await json()
    const db = createStreamDB({ streamOptions: { url, contentType: "application/json" }, state })
    expect(db.stream).toBeInstanceOf(DurableStream)
    await db.preload()
    await db.stream.append(change("insert", { id: "1", name: "Ada" }))
    await until(() => db.collections.users!.size === 1)
    db.close()
  })

  it("what is given is used, and a stream that is not there is told", async () => {
    const stream = await json()
    const db = createStreamDB({ stream, state })
    expect(db.stream).toBe(stream)
    db.close()
    const missing = createStreamDB({ streamOptions: { url: server.streamUrl("missing") }, state })
    await expect(missing.preload()).rejects.toMatchObject({ status: 404 })
    missing.close()
  })
})
