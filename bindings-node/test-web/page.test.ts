/** What only pages do: they are reloaded, hidden, cut off, closed, and open more than once. */
import { DurableStream, IdempotentProducer, stream } from "everstream"
import type { Page } from "playwright-core"
import { expect, it } from "vitest"

import { until, useServer } from "../test/support.js"
import { usePages } from "./browser.js"

const { json } = useServer({ longPollTimeout: 20_000 })
const open = usePages()

/** Requests of a page for a stream, as they begin. */
function requestsOf(page: Page, url: string): string[] {
  const requests: string[] = []
  page.on("request", (request) => {
    if (request.method() !== "OPTIONS" && request.url().startsWith(url)) {
      requests.push(`${request.method()} ${request.url().slice(url.length)}`)
    }
  })
  return requests
}

/** Has a page read a stream into `kept.items`, live, until it is closed. */
async function keepReading(page: Page, options: Parameters<typeof stream>[0]): Promise<void> {
  await page.evaluate(async (options) => {
    const response = await window.everstream.stream<number>(options)
    window.kept.items = []
    window.kept.response = response
    response.subscribeJson<number>(({ items }) => void (window.kept.items as number[]).push(...items))
  }, options as { url: string })
}

const itemsOf = (page: Page): Promise<number[]> => page.evaluate(() => window.kept.items as number[])

async function append(handle: DurableStream, from: number, to: number): Promise<void> {
  for (let number = from; number < to; number += 1) {
    await handle.append(number)
  }
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number)

it("a page that is reloaded in the middle goes on after what it had", async () => {
  const handle = await json()
  await append(handle, 0, 300)
  const page = await open()
  const take = (count: number) =>
    page.evaluate(
      async ({ url, count }) => {
        const { CheckpointStorage, stream } = window.everstream
        const store = new CheckpointStorage(url)
        const response = await stream<number>({ url, offset: await store.load(), maxBatchBytes: 100 })
        const items: number[] = []
        for await (const item of response) {
          items.push(item)
          if (items.length === count) {
            break
          }
        }
        await store.store(response.checkpoint())
        return items
      },
      { url: handle.url, count },
    )
  const first = await take(101)
  await page.reload()
  await page.waitForFunction(() => window.everstream !== undefined)
  const second = await take(199)
  expect([...first, ...second]).toEqual(numbers(300))

  // A storage that takes time, as IndexedDB does.
  const third = await page.evaluate(async (url) => {
    const { CheckpointStorage, stream } = window.everstream
    const opened = await new Promise<IDBDatabase>((resolve) => {
      const opening = indexedDB.open("places")
      opening.onupgradeneeded = () => opening.result.createObjectStore("places")
      opening.onsuccess = () => resolve(opening.result)
    })
    const done = <T>(request: IDBRequest<T>) => new Promise<T>((resolve) => (request.onsuccess = () => resolve(request.result)))
    const places = () => opened.transaction("places", "readwrite").objectStore("places")
    const store = new CheckpointStorage(url, {
      getItem: async (key) => (await done<string | undefined>(places().get(key))) ?? null,
      setItem: (key, value) => done(places().put(value, key)),
    })
    const before = await store.load()
    const response = await stream<number>({ url, live: false })
    await response.json()
    await store.store(response.checkpoint())
    const items = await (await stream({ url, live: false, offset: await store.load() })).json()
    return { before, items, same: (await store.load())?.from === response.offset }
  }, handle.url)
  expect(third).toEqual({ before: undefined, items: [], same: true })

  // What somebody else has put there is refused, and not taken for a place.
  const refused = await page.evaluate(async (url) => {
    const { CheckpointStorage } = window.everstream
    const values = new Map([[`everstream:checkpoint:${url}`, "{}"]])
    const storage = { getItem: (key: string) => values.get(key) ?? null, setItem: () => {} }
    return new CheckpointStorage(url, storage).load().catch((error: { code: string }) => error.code)
  }, handle.url)
  expect(refused).toBe("INVALID_ARGUMENT")
})

/** As a browser does when another tab is looked at. */
async function setHidden(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, value: hidden })
    document.dispatchEvent(new Event("visibilitychange"))
  }, hidden)
}

it("a page that nobody sees reads nothing, and goes on when it is seen", async () => {
  const handle = await json()
  await append(handle, 0, 10)
  const page = await open()
  const requests = requestsOf(page, handle.url)
  await keepReading(page, { url: handle.url, live: "long-poll" })
  await until(async () => (await itemsOf(page)).length === 10)
  await until(() => requests.some((it) => it.includes("live=long-poll")))
  const ended = page.waitForEvent("requestfailed", (request) => request.url().includes("live=long-poll"))
  await setHidden(page, true)
  await ended
  const before = requests.length
  await append(handle, 10, 20)
  expect(await itemsOf(page)).toEqual(numbers(10))
  expect(requests.length).toBe(before)
  await setHidden(page, false)
  await until(async () => (await itemsOf(page)).length === 20)
  expect(await itemsOf(page)).toEqual(numbers(20))
})

it("a read that is to go on goes on in a page that nobody sees", async () => {
  const handle = await json()
  const page = await open()
  await setHidden(page, true)
  await keepReading(page, { url: handle.url, pauseWhenHidden: false })
  await append(handle, 0, 10)
  await until(async () => (await itemsOf(page)).length === 10)
})

it("a network that goes and comes loses nothing", async () => {
  const handle = await json()
  const page = await open()
  // Short requests, so that some of them meet the gap.
  await keepReading(page, { url: handle.url, live: "sse", backoffOptions: { initialDelay: 5, maxDelay: 50 } })
  await append(handle, 0, 5)
  await until(async () => (await itemsOf(page)).length === 5)
  await page.context().setOffline(true)
  // What is open already stays open in an emulated gap; a page that comes back from a pause has to ask anew.
  const failed = page.waitForEvent("requestfailed", (request) => request.failure()?.errorText === "net::ERR_INTERNET_DISCONNECTED")
  await setHidden(page, true)
  await setHidden(page, false)
  await failed
  await append(handle, 5, 10)
  expect(await itemsOf(page)).toEqual(numbers(5))
  await page.context().setOffline(false)
  await until(async () => (await itemsOf(page)).length === 10)
  expect(await itemsOf(page)).toEqual(numbers(10))
})

it("two tabs share one live request for what they read alike", async () => {
  const handle = await json()
  await append(handle, 0, 10)
  const first = await open()
  const second = await open(first)
  const requests = [requestsOf(first, handle.url), requestsOf(second, handle.url)]
  const live = () => requests.flat().filter((it) => it.includes("live=long-poll")).length
  for (const page of [first, second]) {
    await keepReading(page, { url: handle.url, shareAcrossTabs: true })
  }
  await until(async () => (await itemsOf(first)).length === 10 && (await itemsOf(second)).length === 10)
  await append(handle, 10, 30)
  for (const page of [first, second]) {
    await until(async () => (await itemsOf(page)).length === 30)
  }
  // One is waiting: were there two, each message would have taken two.
  const before = live()
  for (let number = 30; number < 40; number += 1) {
    await handle.append(number)
    await until(async () => (await itemsOf(first)).length === number + 1 && (await itemsOf(second)).length === number + 1)
  }
  expect(live() - before).toBeLessThan(16)

  // The one that is left goes on by itself.
  await first.close()
  await handle.append(40)
  await until(async () => (await itemsOf(second)).length === 41)
  expect(await itemsOf(second)).toEqual(numbers(41))
})

it("what a producer was given is stored although the page is closed at once", async () => {
  const handle = await json()
  const page = await open()
  await page.evaluate((url) => {
    const { DurableStream, IdempotentProducer } = window.everstream
    const stream = new DurableStream({ url, contentType: "application/json" })
    // By itself it would wait for company much longer than the page lives.
    window.kept.producer = new IdempotentProducer(stream, "leaving", { lingerMs: 60_000 })
    for (let number = 0; number < 10; number += 1) {
      (window.kept.producer as InstanceType<typeof IdempotentProducer>).append(number)
    }
  }, handle.url)
  await page.goto("about:blank")
  const items: number[] = []
  for await (const item of await stream<number>({ url: handle.url })) {
    if (items.push(item) === 10) {
      break
    }
  }
  expect(items).toEqual(numbers(10))
})

it("memory does not grow with what was read", async () => {
  const handle = await json()
  const producer = new IdempotentProducer(handle, "writer")
  const filler = "x".repeat(100)
  for (let number = 0; number < 100_000; number += 1) {
    await producer.send({ number, filler })
  }
  await producer.close()
  const page = await open()
  const client = await page.context().newCDPSession(page)
  const used = async (): Promise<number> => {
    await client.send("HeapProfiler.collectGarbage")
    return page.evaluate(() => (performance as unknown as { memory: { usedJSHeapSize: number } }).memory.usedJSHeapSize)
  }
  const readAll = () =>
    page.evaluate(async (url) => {
      let count = 0
      let sum = 0
      for await (const { number } of await window.everstream.stream<{ number: number }>({ url })) {
        count += 1
        sum += number
      }
      return { count, sum }
    }, handle.url)
  const all = { count: 100_000, sum: (99_999 * 100_000) / 2 }
  expect(await readAll()).toEqual(all)
  const before = await used()
  for (let round = 0; round < 4; round += 1) {
    expect(await readAll()).toEqual(all)
  }
  // 48 MB were read since.
  expect((await used()) - before).toBeLessThan(8 << 20)
}, 120_000)
