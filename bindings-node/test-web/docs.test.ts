/** The fragments of docs/browser.md run as they stand, in pages that have around them what they mention. */
import { readFileSync } from "node:fs"
import type { Server } from "node:http"

import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, expect, it } from "vitest"

import { useServer } from "../test/support.js"
import { addressOf, launch, servePages } from "./browser.js"

const GUIDE = readFileSync(new URL("../../docs/browser.md", import.meta.url), "utf8")
const DEFAULT_URL = "http://127.0.0.1:4437/v1/stream/orders"
const { json } = useServer()

/** The one fragment of the guide in this language. */
function fragment(language: string): string {
  const found = [...GUIDE.matchAll(new RegExp(`^ *\`\`\`${language}\\n(.*?)^ *\`\`\`$`, "gms"))]
  expect(found).toHaveLength(1)
  return found[0]?.[1] as string
}

const files: Record<string, string> = {}
let browser: Browser
let server: Server
beforeAll(async () => {
  browser = await launch()
  // The first fragment is a script in a page, which the policy of other tests forbids.
  server = await servePages(files, "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'")
})
afterAll(async () => {
  await browser.close()
  server.close()
})

async function opened(): Promise<Page> {
  const page = await browser.newPage()
  page.on("pageerror", (error) => expect.fail(String(error)))
  await page.goto(addressOf(server))
  return page
}

it("a plain page shows orders as they come", async () => {
  const orders = await json()
  await orders.append({ order: 1 })
  files["/index.html"] = `<!doctype html><body>${fragment("html").replace(DEFAULT_URL, orders.url)}`
  const page = await opened()
  await page.getByText('{"order":1}').waitFor()
  await orders.append({ order: 2 })
  await page.getByText('{"order":2}').waitFor()
  await page.close()
})

it("a page that is opened again shows what it has not shown yet", async () => {
  const orders = await json()
  await orders.append(1)
  const around = `const url = ${JSON.stringify(orders.url)}\nconst show = (items) => document.body.append(...items.map(String))\n`
  files["/page.mjs"] = around + fragment("js").replace('"everstream"', '"/everstream/index.mjs"')
  files["/index.html"] = `<!doctype html><body><script type="module" src="/page.mjs"></script>`
  const page = await opened()
  await page.getByText("1", { exact: true }).waitFor()
  // Shown, and stored after that.
  await page.waitForFunction(() => localStorage.length > 0)
  await page.goto("about:blank")
  await orders.append(2)
  await page.goto(addressOf(server))
  await page.getByText("2", { exact: true }).waitFor()
  expect(await page.evaluate(() => document.body.textContent)).not.toContain("1")
  await page.close()
})
