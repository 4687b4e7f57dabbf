/** Writes to a stream and reads it in each way; the results as JSON. The same in each runtime. */
import { DurableStream, IdempotentProducer, stream } from "everstream"

export async function run(url) {
  const sales = await DurableStream.create({ url, contentType: "application/json" })
  const producer = new IdempotentProducer(sales, "shop-1")
  for (let sale = 1; sale <= 3; sale += 1) producer.append({ sale })
  await producer.close()
  const results = []
  for (const live of [false, "sse", "long-poll"]) {
    const response = await stream({ url, live })
    const items = []
    for await (const item of response) items.push(item)
    results.push({ live, items, closed: response.streamClosed })
  }
  return JSON.stringify(results)
}
