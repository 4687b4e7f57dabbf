// The real server, and Chromium to look at it.

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'

const BINARY = process.env.EVERSTREAM_BINARY ?? path.resolve(import.meta.dirname, '../../../target/debug/everstream')
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
/** Serves the page's files from the working tree instead of the binary: for work on them. */
const UI_FOLDER = process.env.EVERSTREAM_UI_FOLDER

export const JSON_TYPE = 'application/json'

/** A server in a process of its own, on disk, that can be killed and started anew at the same address. */
export class Server {
  static async start(...flags) {
    const server = new Server()
    server.folder = await mkdtemp(path.join(tmpdir(), 'everstream-ui-'))
    server.flags = flags
    server.port = '0'
    await server.run()
    return server
  }

  async run() {
    const args = ['serve', '--port', this.port, '--data-dir', this.folder, ...this.flags]
    this.process = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = createInterface({ input: this.process.stdout })
    const [line] = await Promise.race([once(lines, 'line'), once(this.process, 'exit').then(() => ['it ended'])])
    const match = /^Listening on (http:\/\/127\.0\.0\.1:(\d+))$/.exec(line)
    assert(match, `the server does not start: ${line}`)
    this.url = match[1]
    this.port = match[2]
  }

  async kill(signal = 'SIGKILL') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    const ended = once(this.process, 'exit')
    this.process.kill(signal)
    await ended
  }

  async end() {
    await this.kill()
    await rm(this.folder, { recursive: true, force: true })
  }

  stream(name) {
    return `${this.url}/v1/stream/${name.split('/').map(encodeURIComponent).join('/')}`
  }

  async request(method, name, { headers = {}, body, query = '' } = {}) {
    const answer = await fetch(this.stream(name) + query, { method, headers, body })
    const text = await answer.text()
    assert(answer.ok, `${method} ${name}: ${answer.status} ${text}`)
    return { headers: answer.headers, text }
  }

  create(name, contentType, headers = {}) {
    return this.request('PUT', name, { headers: { 'content-type': contentType, ...headers } })
  }

  append(name, contentType, body, headers = {}) {
    return this.request('POST', name, { headers: { 'content-type': contentType, ...headers }, body })
  }

  /** All of a stream, as it is. */
  async read(name) {
    let all = ''
    for (let offset = '-1'; ; ) {
      const { headers, text } = await this.request('GET', name, { query: `?offset=${offset}` })
      all += text
      offset = headers.get('stream-next-offset')
      if (headers.has('stream-up-to-date')) return all
    }
  }

  async exists(name) {
    return (await fetch(this.stream(name), { method: 'HEAD' })).status === 200
  }
}

/** Chromium. Each `tab` of one `person` shares what the browser remembers. */
export class Browser {
  static async start() {
    const browser = new Browser()
    browser.errors = []
    browser.chromium = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--headless',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    })
    return browser
  }

  /** Someone with a browser profile of their own. */
  async person(options = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1280, height: 800 }, ...options })
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    if (UI_FOLDER) {
      await context.route(/\/ui\/(?!config\.json)/, async (route) => {
        const name = new URL(route.request().url()).pathname.replace(/^.*\/ui\//, '') || 'index.html'
        const type = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }[name.split('.').pop()]
        const response = await route.fetch()
        const headers = { ...response.headers(), 'content-type': type }
        await route.fulfill({ status: 200, headers, body: await readFile(path.join(UI_FOLDER, name)) })
      })
    }
    return context
  }

  /** A tab at the page. Errors of the page and of its policy count as failures, see `check`. */
  async tab(context, url) {
    const page = await context.newPage()
    page.setDefaultTimeout(30_000)
    page.on('pageerror', (error) => this.errors.push(String(error)))
    page.on('console', (message) => {
      const text = message.text()
      // A server that is down and streams that are gone are part of the tests.
      if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(text)) this.errors.push(text)
    })
    await page.goto(url)
    return page
  }

  check() {
    const { errors } = this
    this.errors = []
    assert.deepEqual(errors, [])
  }

  end() {
    return this.chromium.close()
  }
}

/** What a command prints, in a shell that knows `everstream`. */
export async function shell(command) {
  const env = { ...process.env, PATH: `${path.dirname(BINARY)}${path.delimiter}${process.env.PATH}` }
  return (await promisify(execFile)('sh', ['-c', command], { env })).stdout
}

/** Waits until a condition holds. */
export async function until(what, condition) {
  const deadline = Date.now() + 30_000
  for (let last; ; ) {
    try {
      if (await condition()) return
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) assert.fail(`not so after 30 s: ${what}${last ? ` (${last})` : ''}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

export function streamPage(server, name, offset) {
  return `${server.url}/ui/#/s/${encodeURIComponent(name)}${offset ? `?offset=${offset}` : ''}`
}

/** Waits for a state of the connection, such as `live`. */
export function inState(page, state) {
  return page.waitForSelector(`.stream-page[data-state="${state}"]`)
}
