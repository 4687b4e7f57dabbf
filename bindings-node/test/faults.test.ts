/** Through a network that breaks, nothing is lost, doubled or reordered, whoever writes and however it is read. */
import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { DurableStream, IdempotentProducer, stream, type Checkpoint, type LiveMode } from "everstream"
import { describe, expect, it } from "vitest"

import { Running } from "./processes.js"
import { useServer } from "./support.js"

// Short answers, so that much can happen between them.
const { server, json } = useServer({ longPollTimeout: 200, sseLifetime: 300 })

const PATIENT = { initialDelay: 2, maxDelay: 50, maxRetries: Infinity, totalMs: Infinity }
/** More than the server's long-poll, which is short here. */
const LIMIT_MS = 2000

const MESSAGES = 20_000
const APPENDS = 1_000
/** A run that meets fewer shows nothing. */
const FAULTS = 50
/** How many times each reader is thrown away. */
const PAUSES = 5

const root = fileURLToPath(new URL("../..", import.meta.url))

/** The proxy of tests/faults before the server. */
async function faultProxy(seed: number): Promise<{ url: string; counts: () => Promise<string> }> {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target")
  const program = join(target, "debug", process.platform === "win32" ? "everstream-faults.exe" : "everstream-faults")
  if (!existsSync(program)) {
    execFileSync("cargo", ["build", "--quiet", "--locked", "-p", "everstream-faults"], { cwd: root, stdio: "inherit" })
  }
  const upstream = new URL(server.url).host
  const args = ["--upstream", upstream, "--seed", String(seed), "--rate", "0.2", "--max-delay-ms", "10"]
  const proxy = new Running(program, [...args, "--max-stall-ms", "50"])
  await proxy.printed("\n")
  const counts = async () => {
    proxy.kill("SIGINT")
    await proxy.ended
    return proxy.stdout.split("\n")[1] ?? ""
  }
  return { url: proxy.stdout.split(" ")[0] as string, counts }
}

/** Numbers that depend on the seed alone. */
function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

async function writeWithProducer(url: string, count: number): Promise<void> {
  const handle = new DurableStream({ url, contentType: "application/json", timeoutMs: LIMIT_MS, backoffOptions: PATIENT })
  const options = { maxBatchItems: 50, lingerMs: 1, maxBufferedBytes: 4096, timeoutMs: LIMIT_MS }
  const producer = new IdempotentProducer(handle, "writer", options)
  for (let number = 0; number < count; number += 1) {
    await producer.send(number)
  }
  await producer.flush()
  expect(producer.pendingCount).toBe(0)
  await producer.detach()
}

async function writeWithHandle(url: string, count: number): Promise<void> {
  const handle = new DurableStream({
    url,
    contentType: "application/json",
    idempotent: true,
    timeoutMs: LIMIT_MS,
    backoffOptions: PATIENT,
  })
  for (let number = 0; number < count; number += 5) {
    // Those that are under way together share requests, in the order of the calls.
    await Promise.all([0, 1, 2, 3, 4].map((next) => handle.append(number + next)))
  }
}

/** What readers take, each thrown away after so many messages and followed by another one. */
async function read(url: string, live: LiveMode, pauses: number[]): Promise<number[]> {
  const taken: number[] = []
  let place: Checkpoint | string = "-1"
  for (;;) {
    const response = await stream<number>({
      url,
      live,
      offset: place,
      timeoutMs: LIMIT_MS,
      backoffOptions: PATIENT,
      maxBatchBytes: 4096,
      sseResilience: { maxShortConnections: Infinity },
    })
    for await (const number of response) {
      if (taken.push(number) === pauses[0]) {
        break
      }
    }
    if (pauses.shift() === undefined) {
      expect(response.streamClosed).toBe(true)
      return taken
    }
    place = JSON.parse(JSON.stringify(response.checkpoint())) as Checkpoint
  }
}

/** How many of the numbers are lost, doubled and out of order. */
function faultsOf(numbers: number[], count: number) {
  const different = new Set(numbers).size
  const reordered = numbers.filter((number, index) => index > 0 && number < (numbers[index - 1] as number)).length
  return { lost: count - different, doubled: numbers.length - different, reordered }
}

const NONE = { lost: 0, doubled: 0, reordered: 0 }

describe.each([1, 2, 3])("seed %i", (seed) => {
  it.each([
    ["a producer", writeWithProducer, MESSAGES],
    ["an idempotent handle", writeWithHandle, APPENDS],
  ] as const)("%s stores every message once and in order, and so it is read", async (_, write, count) => {
    const direct = await json()
    const proxy = await faultProxy(seed)
    const url = `${proxy.url}${new URL(direct.url).pathname}`
    const next = random(seed)
    const pauses = () => Array.from({ length: PAUSES }, () => 1 + Math.floor(next() * (count - 1))).sort((a, b) => a - b)
    const modes: LiveMode[] = [true, "long-poll", "sse"]
    const readers = modes.map((live) => read(url, live, [...new Set(pauses())]))
    try {
      await write(url, count)
    } finally {
      // Readers end with the stream, whatever became of the writer.
      await direct.close()
    }
    const taken = await Promise.all(readers)
    const stored = await (await direct.stream<number>({ live: false })).json()
    expect(faultsOf(stored, count)).toEqual(NONE)
    expect(taken.map((numbers) => faultsOf(numbers, count))).toEqual(modes.map(() => NONE))
    const counts = await proxy.counts()
    expect(Number(/(\d+) faults/.exec(counts)?.[1]), counts).toBeGreaterThan(FAULTS)
  }, 120_000)
})
