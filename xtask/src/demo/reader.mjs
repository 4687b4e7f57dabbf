// One reader of the demo. It prints each batch as it came, a JSON array in a line, and stops after enough messages or at
// the end of the stream. Its checkpoint is in a file: the next reader goes on there.
import { CheckpointFile, stream } from "../../../bindings-node/dist/index.mjs"

const [url, path, live, enough] = process.argv.slice(2)
const place = new CheckpointFile(path, url)
const response = await stream({
  url,
  live,
  offset: await place.load(),
  maxBatchBytes: 4096,
  backoffOptions: { initialDelay: 5, maxDelay: 200 },
})
let messages = 0
for await (const batch of response.bodyStream()) {
  const text = new TextDecoder().decode(batch)
  process.stdout.write(`${text}\n`)
  messages += JSON.parse(text).length
  if (messages >= Number(enough)) {
    break
  }
}
await place.store(response.checkpoint())
if (!response.streamClosed && messages < Number(enough)) {
  throw new Error("the read ended before the stream")
}
