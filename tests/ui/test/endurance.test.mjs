// Nothing is lost and nothing comes twice: over reloads, tabs, restarts and many messages.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { Browser, inState, JSON_TYPE, Server, streamPage, until } from './support.mjs'

let server
let browser
let person

before(async () => {
  server = await Server.start('--sse-lifetime', '2s', '--long-poll-timeout-ms', '500')
  browser = await Browser.start()
  person = await browser.person()
})

afterEach(() => browser.check())

after(async () => {
  await browser?.end()
  await server?.end()
})

/** The messages that a page holds, by their numbers: its rows from the first to the last, scrolled through. */
async function shownNumbers(page) {
  return page.evaluate(async () => {
    const viewport = document.querySelector('.messages .viewport')
    const seen = new Map()
    viewport.scrollTop = 0
    for (;;) {
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
      for (const row of viewport.querySelectorAll('.row')) {
        seen.set(Number(row.dataset.row), Number(/"n":(\d+)/.exec(row.querySelector('.preview').textContent)[1]))
      }
      if (viewport.scrollTop + viewport.clientHeight >= viewport.scrollHeight - 1) break
      viewport.scrollTop += viewport.clientHeight
    }
    return [...seen.entries()].sort((a, b) => a[0] - b[0]).map(([, n]) => n)
  })
}

const numbers = (count) => Array.from({ length: count }, (_, n) => n)

async function writeUntil(name, count, pause, after = () => {}) {
  for (let n = 0; n < count; n += 1) {
    await server.append(name, JSON_TYPE, `[{"n":${n}}]`)
    await after(n)
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

test('two tabs and a reload in the middle of it see every message once', async () => {
  await server.create('tabs', JSON_TYPE)
  const [first, second] = [await browser.tab(person, streamPage(server, 'tabs')), await browser.tab(person, streamPage(server, 'tabs'))]
  const writing = writeUntil('tabs', 600, 2)
  await until('a third has come', async () => Number(await first.locator('.messages .row').last().getAttribute('data-row')) > 200)
  await first.reload()
  await writing
  for (const page of [first, second]) {
    await page.locator('[aria-label="Message 600"]').waitFor()
    assert.deepEqual(await shownNumbers(page), numbers(600))
  }
  await first.close()
  await second.close()
})

test('a server that is killed and comes back is followed from where it was', async () => {
  await server.create('restart', JSON_TYPE)
  const page = await browser.tab(person, streamPage(server, 'restart'))
  await inState(page, 'live')
  await writeUntil('restart', 50, 0)
  await page.locator('[aria-label="Message 50"]').waitFor()
  await server.kill()
  await inState(page, 'waiting')
  // Written while nobody is there: sent when somebody is again.
  await page.getByLabel('Message', { exact: true }).fill('{"n":50}')
  await page.keyboard.press('Enter')
  await page.locator('.trouble').getByText('Sending again').waitFor()
  await server.run()
  await page.locator('[aria-label="Message 51"]').waitFor()
  await inState(page, 'live')
  await server.append('restart', JSON_TYPE, '[{"n":51}]')
  await page.locator('[aria-label="Message 52"]').waitFor()
  assert.deepEqual(await shownNumbers(page), numbers(52))
  await page.close()
})

test('a stream that was deleted and created anew is shown from its beginning', async () => {
  await server.create('reborn', JSON_TYPE)
  await server.append('reborn', JSON_TYPE, '[{"n":0},{"n":1}]')
  const page = await browser.tab(person, streamPage(server, 'reborn'))
  await page.locator('[aria-label="Message 2"]').waitFor()
  await page.keyboard.press('p')
  await inState(page, 'paused')
  await server.request('DELETE', 'reborn')
  await server.create('reborn', JSON_TYPE)
  await server.append('reborn', JSON_TYPE, '[{"n":7}]')
  await page.keyboard.press('p')
  await page.getByText('This is the new one').waitFor()
  await inState(page, 'live')
  assert.deepEqual(await shownNumbers(page), [7])
  await page.close()
})

test('events that do not get through are replaced by long-polls', async () => {
  await server.create('no-events', JSON_TYPE)
  const page = await browser.tab(person, `${server.url}/ui/`)
  await page.route('**/*live=sse*', (route) => route.fulfill({ status: 200, contentType: 'text/event-stream', body: '' }))
  await page.goto(streamPage(server, 'no-events'))
  await page.getByText('Live (long-poll)').waitFor()
  await writeUntil('no-events', 20, 0)
  await page.locator('[aria-label="Message 20"]').waitFor()
  assert.deepEqual(await shownNumbers(page), numbers(20))
  await page.close()
})

test('100,000 messages are all there, and only those in view are elements', async () => {
  const count = 100_000
  await server.create('many', JSON_TYPE)
  for (let from = 0; from < count; from += 10_000) {
    await server.append('many', JSON_TYPE, JSON.stringify(numbers(10_000).map((n) => ({ n: from + n, text: 'some text of a message' }))))
  }
  const page = await browser.tab(person, streamPage(server, 'many'))
  await page.locator('[aria-label="Message 100,000"]').waitFor()
  const rows = () => page.locator('.messages .row').count()
  assert(await rows() < 120, `${await rows()} elements`)
  // Through the whole list by jumps, and by the wheel.
  for (const number of [1, 33_333, 66_667, 99_999, 12_345]) {
    await page.getByLabel('Go to an offset').fill(`#${number}`)
    await page.keyboard.press('Enter')
    await page.locator(`[aria-label="Message ${number.toLocaleString('en')}"]`).getByText(`${number - 1}`, { exact: true }).waitFor()
    assert(await rows() < 120)
  }
  await page.locator('.messages .viewport').hover()
  for (let n = 0; n < 40; n += 1) {
    await page.mouse.wheel(0, 700)
    // No frame shows a gap where messages belong.
    const covered = await page.evaluate(() => {
      const viewport = document.querySelector('.messages .viewport').getBoundingClientRect()
      return [0.1, 0.5, 0.9].every((part) => document.elementFromPoint(viewport.left + 200, viewport.top + viewport.height * part)?.closest('.row'))
    })
    assert(covered, 'rows cover the view')
  }
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: '↓ End' }).click()
  await page.locator('[aria-label="Message 100,000"]').waitFor()
  await page.getByLabel('Filter messages').fill('"n":9999')
  await page.getByText('11 messages', { exact: true }).waitFor()
  await page.close()
})

test('a list higher than a browser can make elements reaches both ends and every message', async () => {
  const count = 400_000
  await server.create('huge', JSON_TYPE)
  for (let from = 0; from < count; from += 50_000) {
    await server.append('huge', JSON_TYPE, `[${numbers(50_000).map((n) => `{"n":${from + n}}`).join(',')}]`)
  }
  const page = await browser.tab(person, streamPage(server, 'huge'))
  await page.locator('[aria-label="Message 400,000"]').waitFor()
  const height = await page.locator('.messages .spacer').evaluate((element) => element.offsetHeight)
  assert(height <= 8_000_000, `${height} px`)
  const viewport = page.locator('.messages .viewport')
  await viewport.focus()
  await page.keyboard.press('Home')
  await page.locator('[aria-label="Message 1"]').waitFor()
  const firstRow = async () => Number(await page.locator('.messages .row').first().getAttribute('data-row'))
  await viewport.evaluate((element) => (element.scrollTop = element.scrollHeight / 2))
  await until('it is in the middle', async () => Math.abs((await firstRow()) - 200_000) < 10_000)
  const middle = await firstRow()
  await viewport.hover()
  await page.mouse.wheel(0, 340)
  await until('ten rows further', async () => Math.abs((await firstRow()) - middle - 10) <= 1)
  await page.keyboard.press('End')
  await page.locator('[aria-label="Message 400,000"]').waitFor()
  await page.close()
})

test('a hidden page lets go of its connection and goes on when it is seen', async () => {
  await server.create('hidden', JSON_TYPE)
  const page = await person.newPage()
  await page.clock.install()
  await page.goto(streamPage(server, 'hidden'))
  await page.clock.resume()
  await inState(page, 'live')
  const hide = (hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))
    }, hidden)
  await hide(true)
  await page.clock.fastForward(31_000)
  await inState(page, 'paused')
  await server.append('hidden', JSON_TYPE, '[{"n":0}]')
  await hide(false)
  await page.locator('[aria-label="Message 1"]').waitFor()
  await inState(page, 'live')
  await page.close()
})
