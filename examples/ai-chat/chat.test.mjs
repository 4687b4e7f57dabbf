// The whole example in a real browser: `npm test`, with Chromium at /usr/bin/chromium (or CHROMIUM).
// PYTHON names an interpreter that has everstream, fastapi, uvicorn and openai; without it only server.mjs is tested.
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { after, afterEach, before, describe, it } from "node:test"

import { chromium } from "playwright-core"

const HERE = import.meta.dirname
const TEXT = readFileSync(join(HERE, "alice.txt"), "utf8")
const EVERSTREAM = join(HERE, "node_modules/everstream/bin/everstream.js")

/** A process, and the lines that it prints. */
class Running {
  lines = []
  #waiting = []

  constructor(program, args, env = {}) {
    this.child = spawn(program, args, { cwd: HERE, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] })
    this.ended = once(this.child, "exit")
    createInterface(this.child.stdout).on("line", (line) => {
      this.lines.push(line)
      this.#waiting = this.#waiting.filter((look) => !look(line))
    })
  }

  /** What the pattern finds in a line, an earlier one included. */
  printed(pattern) {
    return new Promise((resolve) => {
      const look = (line) => {
        const found = line.match(pattern)
        if (found) resolve(found)
        return found
      }
      if (!this.lines.some(look)) this.#waiting.push(look)
    })
  }

  async stop(signal = "SIGKILL") {
    this.child.kill(signal)
    await this.ended
  }
}

async function streams(folder, port = 0) {
  const server = new Running(process.execPath, [EVERSTREAM, "serve", "--port", `${port}`, "--data-dir", folder])
  const [, address] = await server.printed(/http:\/\/127\.0\.0\.1:(\d+)/)
  return { server, port: Number(address) }
}

const servers = [["server.mjs", process.execPath]]
if (process.env.PYTHON) servers.push(["server.py", process.env.PYTHON])

for (const [program, interpreter] of servers) {
  describe(program, { timeout: 180_000 }, () => {
    const folder = mkdtempSync(join(tmpdir(), "everstream-chat-"))
    const contexts = []
    let browser, model, stream, app, env

    const startApp = async (port = 0) => {
      app = new Running(interpreter, [program], { ...env, PORT: `${port}`, PYTHONUNBUFFERED: "1" })
      return (await app.printed(/http:\/\/127\.0\.0\.1:\d+\//))[0]
    }
    let url

    before(async () => {
      model = new Running(process.execPath, ["model.mjs"], { PORT: "0", TOKENS_PER_SECOND: "150" })
      stream = await streams(folder)
      env = {
        OPENAI_BASE_URL: (await model.printed(/http:\S+/))[0],
        STREAMS_URL: `http://127.0.0.1:${stream.port}/v1/stream`,
      }
      url = await startApp()
      browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
        args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"],
      })
    })

    afterEach(async () => {
      await Promise.all(contexts.splice(0).map((context) => context.close()))
    })

    after(async () => {
      await browser?.close()
      await Promise.all([model, stream?.server, app].map((it) => it?.stop()))
      rmSync(folder, { recursive: true })
    })

    /** A viewer of its own, with what went wrong in its page. */
    const view = async (address = url) => {
      const context = await browser.newContext()
      contexts.push(context)
      const page = await context.newPage()
      page.on("pageerror", (error) => assert.fail(error))
      await page.goto(address)
      return page
    }
    const answer = (page) => page.locator(".answer").last()
    const shown = (page) => answer(page).textContent()
    const ask = async (page, question = "Tell me a story.") => {
      await page.getByLabel("Question").fill(question)
      await page.getByRole("button", { name: "Ask" }).click()
      await reached(page, 30)
    }
    const reached = (page, characters) =>
      page.waitForFunction((least) => [...document.querySelectorAll(".answer")].at(-1)?.textContent.length >= least, characters)
    const ended = (page, state) => page.locator(`article[data-state="${state}"]`).last().waitFor()

    it("survives a reload in the middle, byte for byte", async () => {
      const page = await view()
      await ask(page)
      assert.ok((await shown(page)).length < TEXT.length, "in the middle")
      await page.reload()
      await reached(page, 30)
      await ended(page, "complete")
      assert.equal(await shown(page), TEXT)
      await page.reload()
      await ended(page, "complete")
      assert.equal(await shown(page), TEXT)
    })

    it("shows a second viewer the same, and goes on in a tab that is hidden", async () => {
      const page = await view()
      await ask(page)
      const other = await view(page.url())
      const inFront = await page.context().newPage()
      await inFront.bringToFront()
      await ended(other, "complete")
      await page.bringToFront()
      await ended(page, "complete")
      assert.equal(await shown(other), TEXT)
      assert.equal(await shown(page), TEXT)
    })

    it("goes on when the stream server was killed and is back", async () => {
      const page = await view()
      await ask(page)
      await stream.server.stop()
      stream = await streams(folder, stream.port)
      await ended(page, "complete")
      assert.equal(await shown(page), TEXT)
    })

    it("really stops", async () => {
      const page = await view()
      const before = model.lines.length
      await ask(page)
      await page.getByRole("button", { name: "Stop" }).click()
      await ended(page, "stopped")
      const text = await shown(page)
      assert.ok(text.length > 0 && text.length < TEXT.length && TEXT.startsWith(text), "a beginning of it")
      const [, sent, all] = await model.printed(/stopped after (\d+) of (\d+)/)
      assert.ok(Number(sent) < Number(all))
      assert.equal(model.lines.length, before + 1, "one request to the model, which knows that nobody listens")
      await page.reload()
      await ended(page, "stopped")
      assert.equal(await shown(page), text)
    })

    it("keeps what it has when the chat's server is killed, and answers the next question", async () => {
      const page = await view()
      await ask(page)
      await app.stop()
      await startApp(new URL(url).port)
      await page.reload()
      await ended(page, "interrupted")
      const text = await shown(page)
      assert.ok(text.length >= 30 && TEXT.startsWith(text), "a beginning of it")
      await ask(page, "Once more, please.")
      await ended(page, "complete")
      assert.equal(await shown(page), TEXT)
      assert.deepEqual(await page.locator(".question").allTextContents(), ["Tell me a story.", "Once more, please."])
    })
  })
}
