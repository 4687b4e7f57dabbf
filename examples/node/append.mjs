// Appends a few events.
import { DurableStream } from "everstream"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream/my-stream"

const handle = await DurableStream.connect({ url })

await handle.append(JSON.stringify({ event: "user.created", userId: "123" }))
await handle.append(JSON.stringify({ event: "user.updated", userId: "123" }))

console.log("appended 2 events")
