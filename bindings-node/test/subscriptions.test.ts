/** Webhooks that are verified, workers and their leases, against a real server and real deliveries. */
import { execFile } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { promisify } from "node:util"

import {
  AlreadyClosedError,
  DurableStream,
  InvalidArgumentError,
  InvalidOffsetError,
  InvalidSignatureError,
  LeaseLostError,
  StreamExistsError,
  StreamNotFoundError,
} from "everstream"
import { Subscriptions, type NewSubscription, type Worker } from "everstream/subscriptions"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

import { failure, until, useServer } from "./support.js"

const { server } = useServer()
const JSON_TYPE = "application/json"

let root: string
let subscriptions: Subscriptions
let made = 0

beforeAll(() => {
  root = server.streamUrl("x").replace(/\/x$/, "")
  subscriptions = new Subscriptions({ url: root })
})

/** A name of the test's own: of the subscription, and the folder of its streams. */
const fresh = (): string => `t${(made += 1)}`

/** Appends to a stream, which it creates at need; gives the tail. */
async function fill(path: string, ...messages: unknown[]): Promise<string> {
  const handle = await DurableStream.create({ url: `${root}/${path}`, contentType: JSON_TYPE })
  for (const message of messages) {
    await handle.appendJson(message)
  }
  return (await handle.head()).offset as string
}

/** A pull-wake subscription to the streams of a folder, and a worker. */
async function working(options: Partial<NewSubscription> = {}): Promise<{ name: string; worker: Worker }> {
  const name = fresh()
  await DurableStream.create({ url: `${root}/${name}-wakes`, contentType: JSON_TYPE })
  await subscriptions.create(name, { pattern: `${name}/*`, wakeStream: `${name}-wakes`, ...options })
  return { name, worker: await subscriptions.worker(name, "one") }
}

async function acked(name: string): Promise<Record<string, string>> {
  return Object.fromEntries((await subscriptions.get(name)).streams.map((it) => [it.path, it.ackedOffset]))
}

describe("the control API", () => {
  it("creates, shows and removes", async () => {
    const name = fresh()
    const options = { streams: [`${name}/a`], webhook: "https://example.com/", leaseMs: 1500, description: "d" }
    const subscription = await subscriptions.create(name, options)
    expect(subscription).toMatchObject({ id: name, created: true, type: "webhook", leaseMs: 1500, status: "active", description: "d" })
    expect(subscription).not.toHaveProperty("wakeStream")
    expect(subscription.streams).toMatchObject([{ path: `${name}/a`, linkType: "explicit", hasPending: false }])
    expect((await subscriptions.create(name, options)).created).toBe(false)
    expect(await failure(subscriptions.create(name, { ...options, leaseMs: 2000 }))).toBeInstanceOf(StreamExistsError)
    await subscriptions.addStreams(name, [`${name}/b`])
    await subscriptions.removeStream(name, `${name}/a`)
    expect(Object.keys(await acked(name))).toEqual([`${name}/b`])
    expect((await subscriptions.list()).map((it) => it.id)).toContain(name)
    await subscriptions.delete(name)
    await subscriptions.delete(name)
    expect(await failure(subscriptions.get(name))).toBeInstanceOf(StreamNotFoundError)
  })

  it("refuses what cannot be before it is sent", async () => {
    for (const options of [{ wakeStream: "w" }, { pattern: "a" }, { pattern: "a", wakeStream: "w", webhook: "https://h/" }, { pattern: "a", wakeStream: "w", leaseMs: 1 }]) {
      const error = await failure<InvalidArgumentError>(subscriptions.create("never", options))
      expect(error).toBeInstanceOf(InvalidArgumentError)
      expect(error.status).toBeUndefined()
    }
    const name = fresh()
    await subscriptions.create(name, { pattern: "a", webhook: "https://example.com/" })
    expect(await failure(subscriptions.worker(name, "one"))).toBeInstanceOf(InvalidArgumentError)
    expect(await failure(subscriptions.worker("not-there", "one"))).toBeInstanceOf(StreamNotFoundError)
    expect(() => new Subscriptions({ url: "" })).toThrow("url")
    expect(() => new Subscriptions({ url: "nowhere" })).toThrow(InvalidArgumentError)
  })

  it("goes by a fetch that is given", async () => {
    const seen: string[] = []
    const fetch: typeof globalThis.fetch = (input, init) => {
      seen.push(`${init?.method} ${new URL(String(input)).pathname}`)
      return globalThis.fetch(input, init)
    }
    const { name, worker } = await working()
    worker.close()
    await fill(`${name}/a`, 1)
    const lease = await new Subscriptions({ url: root, fetch }).claim(name, "one")
    expect(await (await lease!.read(`${name}/a`)).json()).toEqual([1])
    await lease!.finish()
    const control = `/v1/stream/__ds/subscriptions/${name}`
    expect(seen).toEqual([`POST ${control}/claim`, `GET /v1/stream/${name}/a`, `POST ${control}/ack`])
  })
})

describe("webhooks", () => {
  const received: { signature: string | undefined; body: Buffer }[] = []
  const receiver = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      received.push({ signature: request.headers["webhook-signature"] as string, body: Buffer.concat(chunks) })
      const done = request.url === "/done"
      response.writeHead(done ? 200 : 202, { "content-type": JSON_TYPE }).end(done ? '{"done":true}' : "")
    })
  })
  beforeAll(() => new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve)))
  afterAll(() => void receiver.close())

  async function delivered(path: "/done" | "/later", name: string): Promise<{ signature: string; body: Buffer }> {
    const before = received.length
    const { port } = receiver.address() as AddressInfo
    await subscriptions.create(name, { pattern: `${name}/*`, webhook: `http://127.0.0.1:${port}${path}` })
    await fill(`${name}/a`, 1)
    await until(() => received.length > before)
    return received.at(-1) as { signature: string; body: Buffer }
  }

  it("C-HOOK-1 takes what the server signed and nothing else", async () => {
    const name = fresh()
    const { signature, body } = await delivered("/done", name)
    const verifier = subscriptions.webhookVerifier({ subscription: name })
    const wake = await verifier.verify(signature, body)
    expect(wake).toMatchObject({ subscriptionId: name, generation: 1, streams: [{ path: `${name}/a`, ackedOffset: "-1", hasPending: true }] })
    expect(wake.body).toBe(body.toString())
    expect(await verifier.verify(signature, body.toString())).toEqual(wake)
    const text = body.toString()
    for (const [badSignature, badBody] of [
      [signature, `${text} `],
      [signature, text.replace('"generation":1', '"generation":2')],
      [signature.replace("t=", "t=1"), text],
      [signature.replace("kid=", "kid=x"), text],
      [[signature, signature], text],
      ["", text],
      [undefined, text],
    ] as const) {
      expect(await failure(verifier.verify(badSignature, badBody))).toBeInstanceOf(InvalidSignatureError)
    }
    expect((await failure(subscriptions.webhookVerifier({ subscription: "another" }).verify(signature, body))).message).toContain(name)
    // Any age is more than none.
    expect((await failure(subscriptions.webhookVerifier({ toleranceMs: 0 }).verify(signature, body))).message).toContain("too old")
  })

  it("C-HOOK-1 fetches a key that is new", async () => {
    const name = fresh()
    const asked: string[] = []
    const fetch: typeof globalThis.fetch = (input, init) => (asked.push(String(input)), globalThis.fetch(input, init))
    const verifier = new Subscriptions({ url: root, fetch }).webhookVerifier()
    const first = await delivered("/done", name)
    await verifier.verify(first.signature, first.body)
    await verifier.verify(first.signature, first.body)
    expect(asked).toEqual([`${root}/__ds/jwks.json`])
    const kid = await subscriptions.rotateKey()
    const before = received.length
    await fill(`${name}/a`, 2)
    await until(() => received.length > before)
    const second = received.at(-1) as { signature: string; body: Buffer }
    expect(second.signature).toContain(`kid=${kid},`)
    expect((await verifier.verify(second.signature, second.body)).generation).toBe(2)
    expect(asked).toHaveLength(2)
  })

  it("C-HOOK-2 works on after the answer, and C-HOOK-4 tells who was fenced", async () => {
    const name = fresh()
    const { signature, body } = await delivered("/later", name)
    const wake = await subscriptions.webhookVerifier().verify(signature, body)
    // As a queue would carry it.
    const lease = subscriptions.workOf(wake.body)
    const late = subscriptions.workOf(wake, { leaseMs: 300 })
    const { signal } = late
    expect(signal.aborted).toBe(false)
    const response = await lease.read(lease.pending[0]!)
    expect(await response.json()).toEqual([1])
    await lease.ack({ [`${name}/a`]: response.offset })
    expect(await acked(name)).toEqual({ [`${name}/a`]: response.offset })
    expect(await lease.finish()).toBe(false)
    // Heartbeats are told, unasked.
    await until(() => signal.aborted)
    expect(signal.reason).toBeInstanceOf(LeaseLostError)
    expect(late.isLost).toBe(true)
    expect(await failure(late.ack({}))).toMatchObject({ name: "LeaseLostError", code: "FENCED", status: 409 })
    await late.release()
  })
})

describe("workers", () => {
  it("C-HOOK-5 iterate over work, and end when they are closed", async () => {
    const { name, worker } = await working()
    const tail = await fill(`${name}/a`, 1, 2)
    const seen: unknown[] = []
    for await (const lease of worker) {
      const offsets: Record<string, string> = {}
      for (const stream of lease.pending) {
        const response = await lease.read(stream)
        for await (const message of response) {
          seen.push(message)
        }
        offsets[stream.path] = response.offset
      }
      await lease.finish(offsets)
      expect(lease.isOver).toBe(true)
      if (seen.length === 2) {
        await fill(`${name}/b`, 3)
      } else {
        worker.close()
      }
    }
    expect(seen).toEqual([1, 2, 3])
    expect((await acked(name))[`${name}/a`]).toBe(tail)
    expect(await worker.next()).toBeUndefined()
    expect(await subscriptions.claim(name, "two")).toBeUndefined()
  })

  it("C-HOOK-3 ack nothing that a reader which stopped in the middle did not give", async () => {
    const { name, worker } = await working()
    await DurableStream.create({ url: `${root}/${name}/a`, contentType: JSON_TYPE, body: [1, 2, 3] })
    const lease = (await worker.next())!
    const response = await lease.read(`${name}/a`)
    for await (const message of response) {
      expect(message).toBe(1)
      break
    }
    expect(response.offset).toBe("-1")
    await lease.ack({ [`${name}/a`]: response.offset })
    expect(await lease.finish()).toBe(true)
    const again = (await worker.next())!
    expect(await (await again.read(`${name}/a`)).json()).toEqual([1, 2, 3])
    await again.release()
    worker.close()
  })

  it("give back what a block did not finish, and what the next work finds undone", async () => {
    const { name, worker } = await working()
    await fill(`${name}/a`, 1)
    const first = (await worker.next())!
    await first[Symbol.asyncDispose]()
    expect(first.isOver).toBe(true)
    const second = (await worker.next())!
    const third = (await worker.next())!
    expect(second.isOver).toBe(true)
    expect([first, second, third].map((it) => it.generation)).toEqual([1, 2, 3])
    await third.finish()
    await third[Symbol.asyncDispose]()
    expect(await failure(third.ack({}))).toBeInstanceOf(AlreadyClosedError)
    await worker[Symbol.asyncDispose]()
  })

  it("tell a refused ack from a lost lease", async () => {
    const { name, worker } = await working()
    await fill(`${name}/a`, 1)
    const lease = (await worker.next())!
    expect(await failure(lease.ack({ [`${name}/a`]: "9999999999999999_9999999999999999" }))).toBeInstanceOf(InvalidOffsetError)
    expect(await failure(lease.ack({ [`${name}/a`]: "now" }))).toBeInstanceOf(InvalidArgumentError)
    expect(await failure(lease.read("another"))).toBeInstanceOf(InvalidArgumentError)
    expect(lease.isLost).toBe(false)
    await lease.release()
    worker.close()
  })

  it("end a wait with a signal, and lose no work by it", async () => {
    const { name, worker } = await working({ leaseMs: 1000 })
    const reason = new Error("enough")
    const controller = new AbortController()
    const waiting = worker.next({ signal: controller.signal })
    controller.abort(reason)
    expect(await failure(waiting)).toBe(reason)
    expect(await failure(worker.next({ signal: AbortSignal.abort(reason) }))).toBe(reason)
    await fill(`${name}/a`, 1)
    for (let turns = 0; turns < 5; turns += 1) {
      const aborting = new AbortController()
      const taken = worker.next({ signal: aborting.signal }).catch(() => undefined)
      for (let turn = 0; turn < turns * 4; turn += 1) {
        await new Promise(setImmediate)
      }
      aborting.abort()
      const lease = (await taken) ?? (await worker.next())
      await lease!.release()
    }
    const ended = await subscriptions.worker(name, "two", { signal: controller.signal }).then(undefined, (error: unknown) => error)
    expect(ended).toBe(reason)
    worker.close()
  })

  it("keep a process alive while they wait, and no longer", async () => {
    const { name, worker } = await working()
    worker.close()
    const program = `
      import { Subscriptions } from "everstream/subscriptions"
      const subscriptions = new Subscriptions({ url: process.argv[1] })
      const worker = await subscriptions.worker(process.argv[2], "child")
      setTimeout(() => worker.close(), 50)
      for await (const lease of worker) { console.log("work") }
      console.log("closed")`
    const args = ["--input-type=module", "--eval", program, root, name]
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: new URL("..", import.meta.url), timeout: 20_000 })
    expect(stdout.trim()).toBe("closed")
  })
})
