/** Where else the package runs that is built for browsers: one program, in Deno, in Cloudflare's Workers, and bundled by webpack. */
import { execFile } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

import { expect, it } from "vitest"

import { useServer } from "../test/support.js"
import { addressOf, launch, servePages } from "./browser.js"

const { address } = useServer()
const folder = fileURLToPath(new URL("./runtimes/", import.meta.url))
const LIMITS = { cwd: folder, timeout: 100_000, maxBuffer: 16 * 1024 * 1024 }

/** What the program prints, whichever way it reads. */
const EXPECTED = [false, "sse", "long-poll"].map((live) => ({
  live,
  items: [{ sale: 1 }, { sale: 2 }, { sale: 3 }],
  closed: true,
}))

async function output(program: string, ...args: string[]): Promise<string> {
  return (await promisify(execFile)(program, args, LIMITS)).stdout
}

it("Deno", async () => {
  const deno = join(folder, "node_modules", ".bin", "deno")
  const printed = await output(deno, "run", "--node-modules-dir=manual", "--allow-net", "deno.mjs", address())
  expect(JSON.parse(printed)).toEqual(EXPECTED)
}, 120_000)

it("Cloudflare's Workers", async () => {
  expect(JSON.parse(await output(process.execPath, "workerd.mjs", address()))).toEqual(EXPECTED)
}, 120_000)

it("a page bundled by webpack", async () => {
  const files = {
    "/index.html": `<!doctype html><title>page</title><output></output><script type="module" src="/page.js"></script>`,
    "/page.js": await output(process.execPath, "webpack.mjs"),
  }
  const [browser, server] = [await launch(), await servePages(files)]
  try {
    const page = await browser.newPage()
    await page.goto(`${addressOf(server)}?stream=${encodeURIComponent(address())}`)
    await page.locator("output:not(:empty)").waitFor()
    expect(JSON.parse((await page.locator("output").textContent()) ?? "")).toEqual(EXPECTED)
  } finally {
    await browser.close()
    server.close()
  }
}, 120_000)
