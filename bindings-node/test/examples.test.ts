/** The programs of examples/node, as they stand. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { DurableStream, stream } from "everstream"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

import { output, Running } from "./processes.js"
import { until, useServer } from "./support.js"

const examples = fileURLToPath(new URL("../../examples/node", import.meta.url))
const { address, server } = useServer()

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "everstream-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** A program of the examples, or of a folder with the same ones. */
function start(name: string, env: Record<string, string>, args: string[] = []): Running {
  return new Running(process.execPath, [join(examples, name), ...args], { env })
}

async function run(name: string, env: Record<string, string>, from = examples): Promise<string> {
  return output(process.execPath, [join(from, name)], { env })
}

/** The four first programs: what each of them printed. */
async function quickStart(from: string, file: string): Promise<string[]> {
  const url = address()
  const env = { STREAM_URL: url, OFFSET_FILE: join(folder, file) }
  const printed = [await run("create.mjs", env, from), await run("append.mjs", env, from), await run("read-all.mjs", env, from)]

  const follow = async (last: string) => {
    const follower = new Running(process.execPath, [join(from, "live.mjs")], { env })
    await follower.printed(last)
    // The offset is stored after what was printed.
    const { offset } = await DurableStream.head({ url })
    await until(() => existsSync(env.OFFSET_FILE) && readFileSync(env.OFFSET_FILE, "utf8") === offset)
    follower.kill()
    await follower.ended
    printed.push(follower.stdout)
  }
  await follow("user.updated")
  await new DurableStream({ url }).append({ event: "user.deleted", userId: "123" })
  await follow("user.deleted")
  return printed
}

const CREATED = `{ event: 'user.created', userId: '123' }`
const UPDATED = `{ event: 'user.updated', userId: '123' }`
const DELETED = `{ event: 'user.deleted', userId: '123' }`

describe("the first steps", () => {
  const expected = [
    "created application/json\n",
    "appended 2 events\n",
    `[\n  ${CREATED},\n  ${UPDATED}\n]\n`,
    `${CREATED}\n${UPDATED}\n`,
    `${DELETED}\n`,
  ]

  it("create, append, read and follow, and go on where they were", async () => {
    expect(await quickStart(examples, "ours")).toEqual(expected)
  })

  it("do the same with the official client: only the import differs", async () => {
    // Beside what is installed here, so that it is found.
    const official = mkdtempSync(fileURLToPath(new URL("../node_modules/.first-steps-", import.meta.url)))
    try {
      for (const name of ["create.mjs", "append.mjs", "read-all.mjs", "live.mjs"]) {
        const program = readFileSync(join(examples, name), "utf8")
        expect(program.match(/"everstream"/g)).toHaveLength(1)
        writeFileSync(join(official, name), program.replace('"everstream"', '"@durable-streams/client"'))
      }
      expect(await quickStart(official, "official")).toEqual(expected)
    } finally {
      rmSync(official, { recursive: true })
    }
  })
})

/** Speaks the format of OpenAI's chat completions; stops half-way until it is told to go on. */
class Model {
  readonly requests: { path: string; body: { stream: boolean; messages: { content: string }[] } }[] = []
  goOn!: () => void
  readonly #waiting = new Promise<void>((resolve) => (this.goOn = resolve))
  readonly #server = createServer((request, response) => void this.#answer(request, response))

  constructor(readonly tokens: string[]) {}

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`
  }

  stop(): void {
    this.#server.close()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = ""
    for await (const piece of request.setEncoding("utf8")) {
      body += piece as string
    }
    this.requests.push({ path: request.url ?? "", body: JSON.parse(body) as Model["requests"][number]["body"] })
    response.writeHead(200, { "content-type": "text/event-stream" })
    const send = (delta: object, finish: string | null = null) => {
      const choices = [{ index: 0, delta, finish_reason: finish }]
      const chunk = { id: "c1", object: "chat.completion.chunk", created: 1, model: "test", choices }
      response.write(`data: ${JSON.stringify(chunk)}\n\n`)
    }
    send({ role: "assistant", content: "" })
    for (const [number, content] of this.tokens.entries()) {
      if (number === this.tokens.length / 2) {
        await this.#waiting
      }
      send({ content })
    }
    send({}, "stop")
    response.end("data: [DONE]\n\n")
  }
}

describe("tokens of a language model", () => {
  it("survive the process that shows them, which goes on from its saved offset", async () => {
    const tokens = Array.from({ length: 200 }, (_, number) => (number % 7 === 0 ? `é${number}🎉 ` : `word${number} `))
    const half = tokens.slice(0, 100).join("")
    const model = new Model(tokens)
    const env = {
      STREAM_URL: address(),
      OFFSET_FILE: join(folder, "tokens"),
      OPENAI_BASE_URL: await model.start(),
      OPENAI_API_KEY: "test",
    }
    const writer = start("ai-tokens.mjs", env)
    await until(async () => (await DurableStream.head({ url: env.STREAM_URL }).catch(() => undefined))?.exists === true)

    const first = start("ai-reader.mjs", env)
    await first.printed(half)
    const { offset } = await DurableStream.head({ url: env.STREAM_URL })
    await until(() => existsSync(env.OFFSET_FILE) && readFileSync(env.OFFSET_FILE, "utf8") === offset)
    first.kill()
    await first.ended
    expect(first.stdout).toBe(half)

    model.goOn()
    expect(await writer.ended, writer.stderr).toBe(0)
    expect(await run("ai-reader.mjs", env)).toBe(tokens.slice(100).join(""))
    expect(writer.stderr).toBe("")
    model.stop()

    const stored = await stream({ url: env.STREAM_URL, live: false })
    expect(await stored.text()).toBe(tokens.join(""))
    expect(stored.streamClosed).toBe(true)
    expect(model.requests).toMatchObject([
      { path: "/v1/chat/completions", body: { stream: true, messages: [{ content: "Tell a short story." }] } },
    ])
  })
})

describe("workers of a subscription", () => {
  it("share the jobs, and take over from one that is killed", async () => {
    const jobs = Array.from({ length: 60 }, (_, job) => ({ path: `jobs/${"abc"[job % 3]}`, job }))
    const env = { STREAM_URL: `${server.url}/v1/stream`, LEASE_MS: "1000" }
    const workers = ["one", "two"].map((name) => start("worker.mjs", env, [name]))
    const [one, two] = workers as [Running, Running]
    await Promise.all(workers.map((worker) => worker.printed("ready")))
    const done = () => new Set(workers.flatMap(({ stdout }) => stdout.split("\n").slice(1, -1)))

    for (const { path, job } of jobs) {
      const handle = await DurableStream.create({ url: server.streamUrl(path), contentType: "application/json" })
      await handle.append({ job })
      if (job === 30) {
        await until(() => done().size > 20)
        one.kill() // somewhere in its work, or before, or after
      }
    }
    let over = false
    void two.ended.then(() => (over = true))
    await until(() => done().size === jobs.length || over)

    expect(done(), two.stderr).toEqual(new Set(jobs.map(({ path, job }) => `${path}: ${JSON.stringify({ job })}`)))
    two.kill()
    expect(await two.ended).toBe("SIGKILL")
  })
})

describe("everstream/testing", () => {
  it("the test of an application passes", async () => {
    const printed = await output(process.execPath, ["--test", "orders.test.mjs"], { cwd: examples })
    expect(printed).toMatch(/pass 1\b/)
    expect(printed).toMatch(/fail 0\b/)
  })
})
