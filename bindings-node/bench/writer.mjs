/**
 * Writes events to streams in turn, at an even pace, each with the time when it is sent.
 *
 *     writer.mjs EACH URL COUNT
 *
 * Begins when its input ends: EACH messages for each of the streams URL-0, URL-1, ...
 */
import { setTimeout as sleep } from "node:timers/promises"

import { Client } from "undici"

import { text } from "./plain.mjs"

const EVENTS_PER_SECOND = 500

const [each, url, count] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])]
const { origin, pathname } = new URL(url)
const client = new Client(origin)
for await (const _ of process.stdin) {
  // Nothing is said on it.
}
const start = performance.now()
for (let sent = 0; sent < each * count; sent += 1) {
  const due = start + (sent / EVENTS_PER_SECOND) * 1000 - performance.now()
  if (due > 0) {
    await sleep(due)
  }
  const { statusCode, body } = await client.request({
    method: "POST",
    path: `${pathname}-${sent % count}`,
    headers: { "content-type": "application/json" },
    body: text(Math.floor(sent / count) + 1, performance.timeOrigin + performance.now()),
  })
  await body.dump()
  if (statusCode >= 300) {
    throw new Error(`the server answers ${statusCode}`)
  }
}
await client.close()
