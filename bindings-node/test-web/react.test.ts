/** The React hook: in strict mode, when it comes and goes, and when it is to read something else. */
import { fileURLToPath } from "node:url"

import { build } from "esbuild"
import type { Page } from "playwright-core"
import { beforeAll, describe, expect, it } from "vitest"

import { until, useServer } from "../test/support.js"
import { usePages } from "./browser.js"

declare global {
  interface Window {
    /** What the page shows is decided by the test. */
    show: (props: { url?: string; shown?: boolean; live?: boolean; keep?: number }) => void
    renders: number
  }
}

const { json, address } = useServer({ longPollTimeout: 20_000 })
const files: Record<string, string> = {
  "/index.html": `<!doctype html><title>test</title><div id="root"></div><script type="module" src="/page.js"></script>`,
}
const open = usePages(files)

beforeAll(async () => {
  // As a bundler for browsers would do it.
  const root = fileURLToPath(new URL("..", import.meta.url))
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("pages/react.tsx", import.meta.url))],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    conditions: ["browser"],
    jsx: "automatic",
    absWorkingDir: root,
    // Without the paths of the tests: the package is found as users find it.
    tsconfigRaw: {},
    define: { "process.env.NODE_ENV": '"development"' },
  })
  files["/page.js"] = outputFiles[0]?.text ?? ""
})

const shown = (page: Page) =>
  page.evaluate(() => ({
    items: [...document.querySelectorAll("li")].map((it) => Number(it.textContent)),
    state: document.querySelector("p")?.textContent ?? null,
  }))

const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number)

describe("useStream", () => {
  it("shows what is there and what comes, once, in strict mode", async () => {
    const handle = await json()
    await Promise.all(numbers(10).map((number) => handle.append(number)))
    const page = await open()
    await page.evaluate((url) => window.show({ url }), handle.url)
    await until(async () => (await shown(page)).state === "live")
    expect((await shown(page)).items).toEqual(numbers(10))
    await handle.append(10)
    await until(async () => (await shown(page)).items.length === 11)
    await handle.close()
    await until(async () => (await shown(page)).state === "ended")
    expect((await shown(page)).items).toEqual(numbers(11))
  })

  it("ends its request when it is unmounted, and reads another stream when it is told to", async () => {
    const [first, second] = [await json(), await json()]
    await first.append(1)
    await second.append(2)
    const page = await open()
    const ended: string[] = []
    page.on("requestfailed", (request) => ended.push(request.url()))
    await page.evaluate((url) => window.show({ url }), first.url)
    await until(async () => (await shown(page)).state === "live")
    await page.evaluate((url) => window.show({ url }), second.url)
    await until(async () => (await shown(page)).items[0] === 2)
    await until(() => ended.some((url) => url.startsWith(first.url)))
    expect((await shown(page)).items).toEqual([2])
    await page.evaluate(() => window.show({ shown: false }))
    await until(() => ended.some((url) => url.startsWith(second.url)))
  })

  it("tells of a failure, and goes on when it is asked to", async () => {
    const url = address()
    const page = await open()
    await page.evaluate((url) => window.show({ url }), url)
    await until(async () => (await shown(page)).state === "failed: NOT_FOUND")
    const { DurableStream } = await import("everstream")
    const handle = await DurableStream.create({ url, contentType: "application/json" })
    await handle.append(0)
    await page.click("button")
    await until(async () => (await shown(page)).items.length === 1)
  })

  it("keeps as many as it is told, and ends at the tail when it is not live", async () => {
    const handle = await json()
    await Promise.all(numbers(100).map((number) => handle.append(number)))
    const page = await open()
    await page.evaluate((url) => window.show({ url, keep: 10, live: false }), handle.url)
    await until(async () => (await shown(page)).state === "ended")
    expect((await shown(page)).items).toEqual(numbers(100).slice(90))
    // The options are new objects with each render; only what they say counts.
    expect(await page.evaluate(() => window.renders)).toBeLessThan(30)
  })
})
