/** The pages of examples/, as they stand. */
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync, rmSync } from "node:fs"
import type { Server } from "node:http"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, expect, it } from "vitest"

import { until, useServer } from "../test/support.js"
import { addressOf, launch, servePages } from "./browser.js"

const { json, address } = useServer({ longPollTimeout: 20_000 })
const examples = fileURLToPath(new URL("../../examples/", import.meta.url))
const LAX = "default-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; connect-src *"

let browser: Browser
const servers: Server[] = []
beforeAll(async () => {
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  servers.forEach((server) => server.close())
})

/** All files below a folder, by their path. */
function filesOf(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(
    files.map((entry) => {
      const file = join(entry.parentPath, entry.name)
      return [file.slice(folder.length).replaceAll("\\", "/"), readFileSync(file, "utf8")]
    }),
  )
}

async function show(files: Record<string, string>, stream: string): Promise<Page> {
  const server = await servePages(files, LAX)
  servers.push(server)
  const page = await browser.newPage()
  await page.goto(`${addressOf(server)}?stream=${encodeURIComponent(stream)}`)
  return page
}

const rows = (page: Page): Promise<string[]> => page.locator("li").allTextContents()

it.each(["react", "vue", "svelte"])("%s, built by Vite", async (name) => {
  const folder = join(examples, name)
  const built = join(folder, "dist")
  rmSync(built, { recursive: true, force: true })
  const vite = join(folder, "node_modules", "vite", "bin", "vite.js")
  execFileSync(process.execPath, [vite, "build", "--logLevel", "error"], { cwd: folder, stdio: "inherit" })
  const handle = await json()
  await handle.append({ id: 1 })
  const page = await show(filesOf(built), handle.url)
  await until(async () => (await rows(page)).length === 1)
  await handle.append({ id: 2 })
  await until(async () => (await rows(page)).length === 2)
  expect(await rows(page)).toEqual(['{"id":1}', '{"id":2}'])
  if (name === "react") {
    // By hand, as with the official client.
    await until(async () => (await page.locator("output").textContent()) === '{"id":2}')
  }
  await handle.close()
  await until(async () => (await page.locator("h1").textContent()) === "Orders (ended)")
}, 120_000)

it("a plain page", async () => {
  const page = await show(filesOf(join(examples, "browser")), address())
  await page.fill("input", "tea")
  await page.click("button")
  await until(async () => (await rows(page)).length === 1)
  await page.fill("input", "milk")
  await page.click("button")
  await until(async () => (await rows(page)).length === 2)
  expect(await rows(page)).toEqual(["tea", "milk"])
})
