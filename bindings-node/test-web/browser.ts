/** A browser, and a server of pages whose origin is not that of the streams. */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { extname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core"
import { afterAll, afterEach, beforeAll, expect } from "vitest"

/** What a page of the tests has: the package as it was built for browsers. */
declare global {
  interface Window {
    everstream: typeof import("everstream")
    /** What tests keep in a page between two calls. */
    kept: Record<string, unknown>
  }
}

const built = fileURLToPath(new URL("../dist/web/", import.meta.url))

const USUAL = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"]

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
}

/** Nothing of a page may run but its own scripts, and WebAssembly. */
export const STRICT = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src *"

/** Opens a Chromium. */
export async function launch(): Promise<Browser> {
  const executablePath = [process.env.CHROMIUM, ...USUAL].find((path) => path !== undefined && existsSync(path))
  if (executablePath === undefined) {
    throw new Error("there is no browser: `apt-get install chromium`, or name one in CHROMIUM")
  }
  return chromium.launch({ executablePath, args: ARGUMENTS, headless: true })
}

/** Files by their path, and the package below `/everstream/`. */
export async function servePages(files: Record<string, string>, policy = STRICT): Promise<Server> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://x").pathname
    const name = path === "/" ? "/index.html" : path
    const content = name.startsWith("/everstream/") ? readFile(join(built, name.slice(12))) : Promise.resolve(files[name])
    content.then(
      (body) => {
        const headers = { "content-type": TYPES[extname(name)] ?? "text/plain", "content-security-policy": policy }
        response.writeHead(body === undefined ? 404 : 200, headers).end(body)
      },
      () => response.writeHead(404).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return server
}

export const addressOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

const PAGE = {
  "/index.html": `<!doctype html><title>test</title><script type="module" src="/page.mjs"></script>`,
  "/page.mjs": `import * as everstream from "/everstream/index.mjs"\nwindow.everstream = everstream\nwindow.kept = {}\n`,
}

/** Pages with the package in them for the tests of a file. What a page complains of fails the test. */
export function usePages(files: Record<string, string> = PAGE) {
  let browser: Browser
  let server: Server
  let context: BrowserContext
  let complaints: string[] = []
  beforeAll(async () => {
    browser = await launch()
    server = await servePages(files)
  })
  afterEach(async () => {
    await context?.close()
    const said = complaints
    complaints = []
    expect(said).toEqual([])
  })
  afterAll(async () => {
    await browser?.close()
    server?.close()
  })
  /** A tab; in the context of another one if that is given. */
  return async (beside?: Page): Promise<Page> => {
    if (beside === undefined) {
      await context?.close()
      context = await browser.newContext()
    }
    const page = await context.newPage()
    page.on("pageerror", (error) => complaints.push(String(error.stack ?? error)))
    await page.goto(addressOf(server))
    await page.waitForFunction(() => window.everstream !== undefined || window.kept !== undefined)
    return page
  }
}
