// Reads everything that is there, and ends.
import { stream } from "everstream"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream/my-stream"

const res = await stream({ url, offset: "-1", live: false })
const items = await res.json()

console.log(items)
