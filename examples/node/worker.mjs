// Workers that share what is new in many streams: node worker.mjs NAME. Start as many as you like, each under a name of
// its own. When a stream below jobs/ has something new, one of them is woken, and the server remembers how far each
// stream is done. Kill one in the middle of its work: another one takes over.
//
// In another terminal: npx everstream create jobs/tea --json, then npx everstream write jobs/tea '{"cups": 2}'
import { DurableStream, LeaseLostError } from "everstream"
import { Subscriptions } from "everstream/subscriptions"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream"
const leaseMs = Number(process.env.LEASE_MS ?? 30_000)
const name = process.argv[2] ?? `worker-${process.pid}`

// All of this may be there already: the first worker makes it, the others confirm it.
await DurableStream.create({ url: `${url}/wakes`, contentType: "application/json" })
const subscriptions = new Subscriptions({ url })
await subscriptions.create("workers", { pattern: "jobs/**", wakeStream: "wakes", leaseMs })
console.log("ready")

const worker = await subscriptions.worker("workers", name)
for await (const lease of worker) {
  try {
    for (const stream of lease.pending) {
      const response = await lease.read(stream) // heartbeats keep the lease meanwhile
      for await (const job of response) {
        console.log(`${stream.path}: ${JSON.stringify(job)}`)
      }
      await lease.ack({ [stream.path]: response.offset })
    }
    await lease.finish()
  } catch (error) {
    if (!(error instanceof LeaseLostError)) throw error
    console.error("another worker has taken over")
  }
}
