// Follows the stream. Stop it and start it again: it goes on after the last event that it has seen.
import { existsSync, readFileSync, writeFileSync } from "node:fs"

import { stream } from "everstream"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream/my-stream"
const file = process.env.OFFSET_FILE ?? "offset.txt"

const offset = existsSync(file) ? readFileSync(file, "utf8") : "-1"
const res = await stream({ url, offset, live: true })

res.subscribeJson(async (batch) => {
  for (const item of batch.items) {
    console.log(item)
  }
  writeFileSync(file, batch.offset)
})

await res.closed
