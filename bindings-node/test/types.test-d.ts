import {
  DurableStream,
  IdempotentProducer,
  stream,
  type AppendResult,
  type Checkpoint,
  type Delivery,
  type FetchError,
  type JsonBatch,
  type StreamResponse,
} from "everstream"
import { Subscriptions, type Lease, type Subscription, type Wake } from "everstream/subscriptions"
import { expectTypeOf, test } from "vitest"

interface Order {
  id: number
}

test("reads have the type that was asked for", async () => {
  const response = await stream<Order>({ url: "http://x/", live: "sse", headers: { a: () => "b", c: async () => "d" } })
  expectTypeOf(response).toEqualTypeOf<StreamResponse<Order>>()
  expectTypeOf(response.json()).toEqualTypeOf<Promise<Order[]>>()
  expectTypeOf(response.json<string>()).toEqualTypeOf<Promise<string[]>>()
  expectTypeOf(response.checkpoint()).toEqualTypeOf<Checkpoint>()
  expectTypeOf(response.closed).toEqualTypeOf<Promise<void>>()
  for await (const order of response) {
    expectTypeOf(order).toEqualTypeOf<Order>()
  }
  response.subscribeJson((batch) => {
    expectTypeOf(batch).toEqualTypeOf<JsonBatch<Order>>()
  })
  // @ts-expect-error there is no such mode
  await stream({ url: "http://x/", live: "push" })
})

test("writes", () => {
  const handle = new DurableStream({ url: new URL("http://x/"), contentType: "application/json" })
  expectTypeOf(handle.append("x")).toEqualTypeOf<Promise<AppendResult>>()
  const producer = new IdempotentProducer(handle, "p", { lingerMs: 1, onError: (error) => void error.message })
  expectTypeOf(producer.append({ id: 1 })).toEqualTypeOf<Delivery>()
  expectTypeOf<Delivery>().toExtend<Promise<AppendResult>>()
  // @ts-expect-error a stream needs an address
  new DurableStream({})
  // @ts-expect-error nothing is no message
  producer.append(undefined)
})

test("errors", () => {
  expectTypeOf<FetchError["status"]>().toEqualTypeOf<number>()
  expectTypeOf<FetchError["headers"]>().toEqualTypeOf<Record<string, string>>()
})

test("work", async () => {
  const subscriptions = new Subscriptions({ url: new URL("http://x/"), headers: { a: async () => "b" } })
  expectTypeOf(await subscriptions.create("s", { pattern: "a/*", wakeStream: "w" })).toEqualTypeOf<Subscription>()
  const worker = await subscriptions.worker("s", "one")
  for await (const lease of worker) {
    expectTypeOf(lease).toEqualTypeOf<Lease>()
    const response = await lease.read<Order>(lease.pending[0]!)
    expectTypeOf(response).toEqualTypeOf<StreamResponse<Order>>()
    expectTypeOf(lease.finish({ a: response.offset })).toEqualTypeOf<Promise<boolean>>()
  }
  expectTypeOf(subscriptions.webhookVerifier().verify("s", "b")).toEqualTypeOf<Promise<Wake>>()
  // @ts-expect-error an offset belongs to a path
  await (await worker.next())?.ack("1")
})
