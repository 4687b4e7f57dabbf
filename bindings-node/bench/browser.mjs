// Our client and the official one in the same page of Chromium, in turn: `node bench/browser.mjs [rounds]`.
//
// Catch-up: 100,000 JSON messages of 100 bytes, from one server on this machine, by `subscribeJson`. Latency:
// from a POST, by plain `fetch`, to the message in the page, by SSE. Medians, in ms; on Linux also how long the page's main
// thread was at work for one run. Needs `cargo xtask web`.
//
// The page runs by itself, without playwright: developer tools, which that attaches, have the page keep each answer, and
// decode it once more.
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { text } from "node:stream/consumers"
import { fileURLToPath } from "node:url"

import { build } from "esbuild"

import { DurableStream, IdempotentProducer } from "../dist/index.mjs"
import { Server } from "../dist/testing/index.mjs"

const MESSAGES = 100_000
const LATENCIES = 200
const ROUNDS = Number(process.argv[2] ?? 7)

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const USUAL = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"]

const { outputFiles } = await build({
  stdin: {
    contents: `
      import * as ours from "./dist/web/index.mjs"
      import * as official from "@durable-streams/client"
      import { run } from "./bench/page.mjs"
      run({ ours, official })`,
    resolveDir: root,
  },
  bundle: true,
  write: false,
  format: "esm",
  conditions: ["browser"],
})
const server = new Server()
await server.start()
const contentType = "application/json"
const full = await DurableStream.create({ url: server.streamUrl("full"), contentType })
const producer = new IdempotentProducer(full, "writer")
for (let number = 0; number < MESSAGES; number += 1) {
  await producer.send({ number, filler: "x".repeat(76) })
}
await producer.close()
const live = await DurableStream.create({ url: server.streamUrl("live"), contentType })

const given = { full: full.url, live: live.url, count: MESSAGES, latencies: LATENCIES }
const tasks = ["catch-up, in batches", "latency"].flatMap((measure) =>
  Array.from({ length: ROUNDS + 1 }, (_, round) => {
    const clients = round % 2 ? ["ours", "official"] : ["official", "ours"]
    return clients.map((client) => ({ ...given, measure, round, client }))
  }).flat(),
)
const taken = {}
let failed
let end
const ended = new Promise((resolve) => (end = resolve))
let atWork
const pages = createServer(async (request, response) => {
  const answer = (type, body) => response.writeHead(200, { "content-type": type }).end(body)
  switch (request.url) {
    case "/page.mjs":
      return answer("text/javascript", outputFiles[0].text)
    case "/next":
      answer("application/json", JSON.stringify((failed === undefined && tasks[0]) || null))
      atWork = mainThread()
      return failed === undefined && tasks.length > 0 ? undefined : end()
    case "/outcome": {
      const { times, error } = JSON.parse(await text(request))
      const { measure, client, round } = tasks.shift()
      failed ??= error
      // The first round is not counted: engines learn.
      if (round > 0 && times !== undefined) {
        const own = ((taken[measure] ??= {})[client] ??= { times: [], atWork: [] })
        own.times.push(...times)
        own.atWork.push(mainThread() - atWork)
      }
      return answer("text/plain", "")
    }
    default:
      return answer("text/html", `<script type="module" src="/page.mjs"></script>`)
  }
})
await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve))

const profile = mkdtempSync(join(tmpdir(), "everstream-bench-"))
const program = [process.env.CHROMIUM, ...USUAL].find((path) => path && existsSync(path))
const manner = ["--headless", "--no-sandbox", "--no-zygote", "--disable-gpu", "--no-first-run", `--user-data-dir=${profile}`]
const browser = spawn(program, [...manner, `http://127.0.0.1:${pages.address().port}/`], { stdio: "ignore" })
const gone = new Promise((resolve) => browser.once("close", resolve))
failed ??= await Promise.race([ended, gone.then(() => "the browser ended")])

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
for (const [measure, { ours, official }] of failed === undefined ? Object.entries(taken) : []) {
  const [our, their] = [median(ours.times), median(official.times)]
  console.log(`${measure}: ours ${our.toFixed(1)} ms, official ${their.toFixed(1)} ms, ours/official ${(our / their).toFixed(2)}`)
  const [work, theirWork] = [median(ours.atWork), median(official.atWork)]
  if (work > 0) {
    console.log(`  main thread: ours ${work.toFixed(1)} ms, official ${theirWork.toFixed(1)} ms, ours/official ${(work / theirWork).toFixed(2)}`)
  }
}
browser.kill()
await gone
await server.stop()
pages.closeAllConnections()
pages.close()
rmSync(profile, { recursive: true, force: true, maxRetries: 10 })
if (failed !== undefined) {
  throw new Error(failed)
}

/** How long the main threads of the browser's pages have run, in ms; 0 where nobody tells. */
function mainThread() {
  let nanos = 0
  for (const pid of existsSync("/proc/self/schedstat") ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)) : []) {
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1]
      if (Number(parent) === browser.pid && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--type=renderer")) {
        nanos += Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0])
      }
    } catch {
      // It ended meanwhile.
    }
  }
  return nanos / 1e6
}
