// The official server on a free port, in memory. Prints its URL, and ends when its input does.
import { DurableStreamTestServer } from "@durable-streams/server"

const server = new DurableStreamTestServer({ port: 0, longPollTimeout: 500, webhooks: true })
console.log(await server.start())

process.stdin.resume()
process.stdin.on("end", async () => {
  await server.stop()
  process.exit(0)
})
