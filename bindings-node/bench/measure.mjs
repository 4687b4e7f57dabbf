/**
 * One run of one client, in a process of its own. Prints what it cost as a line of JSON.
 *
 *     measure.mjs produce|append|read_json|iter_json|read_bytes|tail CLIENT URL AMOUNT
 *
 * CLIENT is a file in clients/. AMOUNT is the number of messages, or of bytes; the streams that are read must be there
 * already. Every run checks what it got, and fails if anything is missing.
 */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

import { ask, batches, create, holds, text } from "./plain.mjs"

/** What ours puts into a request if it is told nothing else. */
const MAX_BATCH_BYTES = 1 << 20
const WARM_UPS = 200
const STREAMS = 500

/** What a call gives, and what it cost. */
async function measured(call) {
  const stop = meter()
  const result = await call()
  return [result, stop()]
}

/** Wall and CPU time of this process from now on, in seconds, and the most memory since its start. */
function meter() {
  const cpu = process.cpuUsage()
  const start = performance.now()
  return () => {
    const wall = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const status = readFileSync("/proc/self/status", "utf8")
    const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1])
    return { wall, cpu: (user + system) / 1e6, peak_rss: field("VmHWM") * 1024, threads: field("Threads") }
  }
}

function latency(times) {
  times.sort((a, b) => a - b)
  return { p50: times[times.length >> 1], p99: times[Math.floor((times.length * 99) / 100)] }
}

const MEASUREMENTS = {
  async produce(client, url, amount) {
    const messages = Array.from({ length: amount }, (_, number) => text(number))
    await create(url)
    const ready = client.post && batches(messages, MAX_BATCH_BYTES)
    const [, cost] = await measured(() => (ready ? client.post(url, ready) : client.produce(url, messages)))
    await holds(url, messages)
    await ask("DELETE", url)
    return cost
  },

  async append(client, url, amount) {
    const messages = Array.from({ length: WARM_UPS + amount }, (_, number) => text(number))
    await create(url)
    const append = client.appender(url)
    for (const message of messages.slice(0, WARM_UPS)) {
      await append(message)
    }
    const times = []
    const stop = meter()
    for (const message of messages.slice(WARM_UPS)) {
      const start = performance.now()
      await append(message)
      times.push((performance.now() - start) / 1000)
    }
    const cost = { ...stop(), ...latency(times) }
    await append.close?.()
    await holds(url, messages)
    await ask("DELETE", url)
    return cost
  },

  async read_json(client, url, amount) {
    const [messages, cost] = await measured(() => client.readJson(url))
    assert.equal(messages.length, amount)
    messages.forEach(({ i }, number) => assert(i === number, `message ${i} came where ${number} was due`))
    return cost
  },

  async iter_json(client, url, amount) {
    let due = 0
    const take = ({ i }) => {
      assert(i === due, `message ${i} came where ${due} was due`)
      due += 1
      return due === amount
    }
    const [, cost] = await measured(() => client.iterJson(url, take))
    assert.equal(due, amount)
    return cost
  },

  async read_bytes(client, url, amount) {
    const [content, cost] = await measured(() => client.readBytes(url))
    assert.equal(content.length, amount)
    // Every eight bytes are their own place.
    const view = new DataView(content.buffer, content.byteOffset, content.length)
    for (let at = 0; at < amount; at += 65_536) {
      assert.equal(view.getBigUint64(at, true), BigInt(at), `what came at ${at} belongs elsewhere`)
    }
    return cost
  },

  async tail(client, url, amount) {
    const each = amount / STREAMS
    const urls = Array.from({ length: STREAMS }, (_, number) => `${url}-${number}`)
    for (const one of urls) {
      await create(one)
      await ask("POST", one, text(0))
    }
    const program = fileURLToPath(new URL("writer.mjs", import.meta.url))
    const stdio = ["pipe", "inherit", "inherit"]
    const writer = spawn(process.execPath, [program, String(each), url, String(STREAMS)], { stdio })
    const ended = once(writer, "close")

    const times = []
    let connected = 0
    let connect
    const allConnected = new Promise((resolve) => (connect = resolve))
    const following = Promise.all(
      urls.map((one) => {
        let due = 0
        return client.tail(one, ({ i, t }) => {
          assert(i === due, `message ${i} came where ${due} was due`)
          if (due > 0) {
            times.push((performance.timeOrigin + performance.now() - t) / 1000)
          } else if ((connected += 1) === STREAMS) {
            connect()
          }
          due += 1
          return due > each
        })
      }),
    )
    // A failure ends it too.
    await Promise.race([following, allConnected])
    const stop = meter()
    writer.stdin.end()
    await following
    const cost = { ...stop(), ...latency(times) }
    assert.deepEqual(await ended, [0, null], "the writer failed")
    assert.equal(times.length, amount, "events are missing")
    for (const one of urls) {
      await ask("DELETE", one)
    }
    return cost
  },
}

const [measurement, name, url, amount] = process.argv.slice(2)
const client = await import(`./clients/${name}.mjs`)
console.log(JSON.stringify(await MEASUREMENTS[measurement](client, url, Number(amount))))
