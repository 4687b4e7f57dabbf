// Our client and the official one in the same page of Chromium, in turn: `node bench/browser.mjs [rounds]`.
//
// Catch-up: 100,000 JSON messages of 100 bytes, from one server on this machine, by `subscribeJson`. Latency:
// from a POST, by plain `fetch`, to the message in the page, by SSE. Medians, in ms. Needs `cargo xtask web`.
import { existsSync } from "node:fs"
import { createServer } from "node:http"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { build } from "esbuild"
import { chromium } from "playwright-core"

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
      globalThis.clients = { ours, official }`,
    resolveDir: root,
  },
  bundle: true,
  write: false,
  format: "esm",
  conditions: ["browser"],
})
const pages = createServer((request, response) => {
  const script = request.url === "/page.mjs"
  response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" })
  response.end(script ? outputFiles[0].text : `<script type="module" src="/page.mjs"></script>`)
})
await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve))
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

const executablePath = [process.env.CHROMIUM, ...USUAL].find((path) => path && existsSync(path))
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"], headless: true })
const page = await browser.newPage()
await page.goto(`http://127.0.0.1:${pages.address().port}/`)
await page.waitForFunction("globalThis.clients !== undefined")

const measures = {
  "catch-up, in batches": async ({ client, full, count }) => {
    const start = performance.now()
    // Another address each time: what the browser has in its cache is not what is measured.
    const url = `${full}?read=${crypto.randomUUID()}`
    const response = await globalThis.clients[client].stream({ url, live: true })
    let seen = 0
    // Not `closed`: the official client's is settled before the last batch is handed over.
    await new Promise((resolve) => {
      response.subscribeJson(({ items }) => {
        seen += items.length
        if (seen === count) resolve()
      })
    })
    return [performance.now() - start]
  },
  "latency": async ({ client, live, latencies }) => {
    const response = await globalThis.clients[client].stream({ url: live, offset: "now", live: "sse" })
    let arrived
    response.subscribeJson(({ items }) => void (items.length > 0 && arrived?.()))
    const times = []
    for (let number = 0; number < latencies; number += 1) {
      const next = new Promise((resolve) => (arrived = resolve))
      const start = performance.now()
      await fetch(live, { method: "POST", headers: { "content-type": "application/json" }, body: String(number) })
      await next
      times.push(performance.now() - start)
    }
    response.cancel()
    return times
  },
}

const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)]
const given = { full: full.url, live: live.url, count: MESSAGES, latencies: LATENCIES }
for (const [name, measure] of Object.entries(measures)) {
  const times = { ours: [], official: [] }
  // The first round is not counted: engines learn.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const client of round % 2 ? ["ours", "official"] : ["official", "ours"]) {
      const taken = await page.evaluate(measure, { ...given, client })
      if (round > 0) times[client].push(...taken)
    }
  }
  const [ours, official] = [median(times.ours), median(times.official)]
  console.log(`${name}: ours ${ours.toFixed(1)} ms, official ${official.toFixed(1)} ms, ours/official ${(ours / official).toFixed(2)}`)
}
await browser.close()
await server.stop()
pages.close()
