// Shows the tokens of ai-tokens.mjs. Stop it and start it again: it goes on where it was, whatever came meanwhile.
import { existsSync, readFileSync, writeFileSync } from "node:fs"

import { stream } from "everstream"

const url = process.env.STREAM_URL ?? "http://127.0.0.1:4437/v1/stream/generation-1"
const file = process.env.OFFSET_FILE ?? "generation-1.offset"

const offset = existsSync(file) ? readFileSync(file, "utf8") : "-1"
const res = await stream({ url, offset, live: true })

res.subscribeText((chunk) => {
  process.stdout.write(chunk.text)
  writeFileSync(file, chunk.offset)
})

// The stream is closed when the model is done.
await res.closed
