/** Through a network that breaks, a page loses, doubles and reorders nothing. */
import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { DurableStream, stream } from "everstream"
import { expect, it } from "vitest"

import { Running } from "../test/processes.js"
import { useServer } from "../test/support.js"
import { usePages } from "./browser.js"

// Short answers, so that much can happen between them.
const { server, address } = useServer({ longPollTimeout: 200, sseLifetime: 300 })
const open = usePages()

const MESSAGES = 3_000
/** A run that meets fewer shows nothing. */
const FAULTS = 20

const root = fileURLToPath(new URL("../..", import.meta.url))

async function faultProxy(seed: number): Promise<{ url: string; counts: () => Promise<string> }> {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target")
  const program = join(target, "debug", process.platform === "win32" ? "everstream-faults.exe" : "everstream-faults")
  if (!existsSync(program)) {
    execFileSync("cargo", ["build", "--quiet", "--locked", "-p", "everstream-faults"], { cwd: root, stdio: "inherit" })
  }
  const args = ["--upstream", new URL(server.url).host, "--seed", String(seed), "--rate", "0.2"]
  const proxy = new Running(program, [...args, "--max-delay-ms", "10", "--max-stall-ms", "50"])
  await proxy.printed("\n")
  const counts = async () => {
    proxy.kill("SIGINT")
    await proxy.ended
    return proxy.stdout.split("\n")[1] ?? ""
  }
  return { url: proxy.stdout.split(" ")[0] as string, counts }
}

it.each([
  [1, "sse"],
  [2, "long-poll"],
  [3, true],
] as const)("seed %d, live: %s", async (seed, live) => {
  const url = address()
  await DurableStream.create({ url, contentType: "application/json" })
  const proxy = await faultProxy(seed)
  const page = await open()
  const read = await page.evaluate(
    async ({ url, live, count }) => {
      const { DurableStream, IdempotentProducer, stream } = window.everstream
      const patient = { initialDelay: 2, maxDelay: 50, maxRetries: Infinity, totalMs: Infinity }
      const handle = new DurableStream({ url, contentType: "application/json", timeoutMs: 2000, backoffOptions: patient })
      const write = async () => {
        const options = { maxBatchItems: 20, lingerMs: 1, maxBufferedBytes: 4096, timeoutMs: 2000 }
        const producer = new IdempotentProducer(handle, "page", options)
        for (let number = 0; number < count; number += 1) {
          await producer.send(number)
        }
        await producer.flush()
        await producer.detach()
      }
      const writing = write()
      const items: number[] = []
      // Thrown away now and then, and gone on with from the checkpoint.
      let place: import("everstream").Checkpoint | undefined
      while (items.length < count) {
        const response = await stream<number>({ url, live, offset: place, timeoutMs: 2000, backoffOptions: patient })
        for await (const item of response) {
          items.push(item)
          if (items.length % 500 === 0) {
            break
          }
        }
        place = response.checkpoint()
      }
      await writing
      return items
    },
    { url: url.replace(server.url, proxy.url), live, count: MESSAGES },
  )
  const counts = await proxy.counts()
  expect(read).toEqual(Array.from({ length: MESSAGES }, (_, number) => number))
  expect(await (await stream<number>({ url, live: false })).json()).toEqual(read)
  const faults = Number(/(\d+) faults?/.exec(counts)?.[1] ?? Number.NaN)
  expect(faults, counts).toBeGreaterThan(FAULTS)
})
