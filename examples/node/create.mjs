// Creates a stream. Running it again changes nothing.
import { DurableStream } from "everstream"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream/my-stream"

const handle = await DurableStream.create({ url, contentType: "application/json" })

console.log("created", handle.contentType)
