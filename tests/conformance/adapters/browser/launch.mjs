/** Opens a page with the adapter in it, and passes it the commands. */
import { existsSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, "../../../../bindings-node")
// Both are installed for the tests of the package.
const require = createRequire(join(root, "package.json"))

const USUAL = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"]

/**
 * Servers of the cases answer as they are told to, and not to other origins: what a browser lets a page see is not what is
 * tested here.
 */
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-web-security"]

export async function serve() {
  const server = await servePage(await bundle())
  const browser = await launch()
  try {
    const page = await browser.newPage()
    page.on("pageerror", (error) => console.error(error))
    await page.goto(`http://127.0.0.1:${server.address().port}/`)
    await page.waitForFunction("globalThis.answerLine !== undefined")
    for await (const line of createInterface({ input: process.stdin })) {
      if (line.trim() === "") {
        continue
      }
      const { answered, last } = await page.evaluate((line) => globalThis.answerLine(line), line)
      console.log(answered)
      if (last) {
        break
      }
    }
  } finally {
    await browser.close()
    server.close()
  }
}

async function bundle() {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  const files = { "./everstream.mjs": join(root, "dist/web/index.mjs"), "./platform.mjs": join(here, "platform.mjs") }
  const parts = {
    name: "parts",
    setup({ onResolve }) {
      onResolve({ filter: /^\.\/(everstream|platform)\.mjs$/ }, ({ path }) => ({ path: files[path] }))
    },
  }
  const built = await require("esbuild").build({
    entryPoints: [join(here, "page.mjs")],
    bundle: true,
    write: false,
    format: "esm",
    define: { VERSION: JSON.stringify(version) },
    plugins: [parts],
  })
  return built.outputFiles[0].text
}

async function servePage(script) {
  const server = createServer((request, response) => {
    const [type, body] =
      request.url === "/page.mjs" ? ["text/javascript", script] : ["text/html", `<script type="module" src="/page.mjs"></script>`]
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body)
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  return server
}

function launch() {
  const executablePath = [process.env.CHROMIUM, ...USUAL].find((path) => path && existsSync(path))
  if (executablePath === undefined) {
    throw new Error("there is no browser: `apt-get install chromium`, or name one in CHROMIUM")
  }
  return require("playwright-core").chromium.launch({ executablePath, args: ARGUMENTS, headless: true })
}
