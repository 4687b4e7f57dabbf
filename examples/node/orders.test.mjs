// How an application tests what it does with streams: against a real server in the same process. `node --test`.
import assert from "node:assert/strict"
import { after, before, test } from "node:test"

import { DurableStream, IdempotentProducer, stream } from "everstream"
import { Server } from "everstream/testing"

const server = new Server()
before(() => server.start())
after(() => server.stop())

test("orders arrive in their order, although the server fails at first", async () => {
  const url = server.streamUrl("orders")
  const orders = await DurableStream.create({ url, contentType: "application/json" })
  server.injectFault(new URL(url).pathname, { status: 503, method: "POST", count: 2 })

  const producer = new IdempotentProducer(orders, "shop-1")
  for (let number = 1; number <= 3; number += 1) {
    producer.append({ number })
  }
  await producer.close()

  const seen = []
  for await (const { number } of await stream({ url })) {
    seen.push(number)
  }
  assert.deepEqual(seen, [1, 2, 3])
})
