// The list of streams, and what is done to streams as a whole.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { Browser, inState, JSON_TYPE, Server, streamPage, until } from './support.mjs'

let server
let browser
let person

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
  person = await browser.person()
})

afterEach(() => browser.check())

after(async () => {
  await browser?.end()
  await server?.end()
})

const row = (page, path) => page.locator('.stream', { has: page.locator(`.stream-path[title="${path}"]`) })

test('the list follows what is created, written, deleted and expired elsewhere', async () => {
  await server.create('before', 'text/plain')
  const page = await browser.tab(person, `${server.url}/ui`)
  await row(page, 'before').waitFor()
  assert(page.url().startsWith(`${server.url}/ui/`), 'the address without slash leads there')
  await server.create('list/a b/ü', JSON_TYPE)
  await row(page, 'list/a b/ü').waitFor()
  await server.append('list/a b/ü', JSON_TYPE, `["${'x'.repeat(2045)}"]`)
  await row(page, 'list/a b/ü').getByText('2.0 KiB').waitFor()
  await server.create('short-lived', 'image/png', { 'stream-ttl': '1' })
  await row(page, 'short-lived').waitFor()
  await row(page, 'short-lived').waitFor({ state: 'detached' })
  await server.request('DELETE', 'before')
  await row(page, 'before').waitFor({ state: 'detached' })
  await row(page, 'list/a b/ü').locator('a').click()
  await inState(page, 'live')
  assert.equal(await page.locator('h1').textContent(), 'list/a b/ü')
  await page.close()
})

test('searching narrows the list by path and type, and orders it', async () => {
  for (const [name, type] of [['search/apple', JSON_TYPE], ['search/pear', 'text/plain'], ['other/apple', 'text/plain']]) await server.create(name, type)
  await server.append('search/pear', 'text/plain', 'x'.repeat(5000))
  const page = await browser.tab(person, `${server.url}/ui/`)
  await row(page, 'search/pear').waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type('apple')
  await row(page, 'search/pear').waitFor({ state: 'detached' })
  assert.deepEqual(await page.locator('.stream-path').allTextContents(), ['other/apple', 'search/apple'])
  await page.getByLabel('Search streams').fill('search text')
  await until('one row', async () => (await page.locator('.stream').count()) === 1)
  await page.getByLabel('Search streams').fill('')
  await page.getByLabel('Order').selectOption('size')
  await until('the largest is first', async () => (await page.locator('.stream-path').first().textContent()) === 'search/pear')
  // From the search field into the list and to a stream, by keys alone.
  await page.getByLabel('Order').selectOption('name')
  await page.getByLabel('Search streams').fill('apple')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'search/apple' }).waitFor()
  await page.close()
})

test('thousands of streams are listed, searched, and followed where one looks', async (t) => {
  const crowded = await Server.start()
  t.after(() => crowded.end())
  for (let from = 0; from < 2500; from += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, n) => crowded.create(`many/${String(from + n).padStart(4, '0')}`, 'text/plain')))
  }
  const page = await browser.tab(person, `${crowded.url}/ui/`)
  // The registry and presence are streams too.
  await page.getByText('2,502 streams', { exact: true }).waitFor()
  assert((await page.locator('.stream').count()) < 60)
  await page.locator('.streams').focus()
  await page.keyboard.press('End')
  await row(page, 'many/2499').waitFor()
  await crowded.append('many/2499', 'text/plain', 'x'.repeat(2048))
  await row(page, 'many/2499').getByText('2.0 KiB').waitFor()
  await crowded.request('DELETE', 'many/2498')
  await row(page, 'many/2498').waitFor({ state: 'detached' })
  await crowded.create('zz', JSON_TYPE)
  await page.getByText('2,502 streams', { exact: true }).waitFor()
  await page.getByLabel('Search streams').fill('/12')
  await page.getByText('100 of 2,502 streams').waitFor()
  await page.close()
})

test('streams are created with type, lifetime and closure', async () => {
  const page = await browser.tab(person, `${server.url}/ui/`)
  await page.locator('.stream').first().waitFor()
  await page.keyboard.press('n')
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Path').fill('  ')
  await dialog.getByRole('button', { name: 'Create' }).click()
  await dialog.getByText('Stream path cannot be empty').waitFor()
  await dialog.getByLabel('Path').fill('made/here')
  await dialog.getByRole('button', { name: 'Binary' }).click()
  await dialog.getByLabel('Lifetime', { exact: true }).selectOption('ttl')
  await dialog.getByLabel('How long').fill('2')
  await dialog.getByLabel('Create it closed').check()
  await dialog.getByRole('button', { name: 'Create' }).click()
  await page.getByRole('heading', { name: 'made/here' }).waitFor()
  const { headers } = await server.request('HEAD', 'made/here')
  assert.equal(headers.get('content-type'), 'application/octet-stream')
  assert.equal(headers.get('stream-ttl'), '7200')
  assert.equal(headers.get('stream-closed'), 'true')
  await inState(page, 'closed')
  assert.equal(await page.locator('.composer').count(), 0, 'nothing can be written to a closed stream')
  await page.close()
})

test('a fork holds exactly what is before the message that it was made after', async () => {
  await server.create('fork/source', JSON_TYPE)
  await server.append('fork/source', JSON_TYPE, '[{"n":0},{"n":"ä€😀"},[2],3.50]')
  await server.append('fork/source', JSON_TYPE, '[{"n":4},"five"]')
  const whole = JSON.parse(await server.read('fork/source'))
  for (const count of [1, 2, 3, 4, 5]) {
    const page = await browser.tab(person, streamPage(server, 'fork/source'))
    await inState(page, 'live')
    await page.locator(`[aria-label="Message ${count}"] .card-toggle`).hover()
    await page.locator(`[aria-label="Message ${count}"]`).getByRole('button', { name: 'fork' }).click()
    await page.getByRole('dialog').getByLabel('Path of the fork').fill(`fork/${count}`)
    await page.getByRole('dialog').getByRole('button', { name: 'Fork' }).click()
    await page.getByRole('heading', { name: `fork/${count}` }).waitFor()
    assert.deepEqual(JSON.parse(await server.read(`fork/${count}`)), whole.slice(0, count))
    await page.close()
  }
  const page = await browser.tab(person, streamPage(server, 'fork/source'))
  await page.locator('.fact-panel > summary').click()
  await page.locator('.facts').getByRole('link', { name: 'fork/5' }).waitFor()
  await page.goto(streamPage(server, 'fork/5'))
  await page.locator('.fact-panel > summary').click()
  await page.locator('.facts').getByRole('link', { name: 'fork/source' }).waitFor()
  await page.close()
})

test('deleting asks first', async () => {
  await server.create('doomed', 'text/plain')
  const page = await browser.tab(person, `${server.url}/ui/`)
  await row(page, 'doomed').hover()
  await page.getByRole('button', { name: 'Delete doomed' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
  assert(await server.exists('doomed'))
  await row(page, 'doomed').hover()
  await page.getByRole('button', { name: 'Delete doomed' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
  await row(page, 'doomed').waitFor({ state: 'detached' })
  assert.equal(await server.exists('doomed'), false)
  await page.close()
})

test('metadata shows type, lifetime, offset, tag and producers', async () => {
  await server.create('facts', JSON_TYPE, { 'stream-ttl': '7200' })
  const producer = { 'producer-id': 'shop-1', 'producer-epoch': '3', 'producer-seq': '0' }
  const { headers } = await server.append('facts', JSON_TYPE, '[1]', producer)
  const page = await browser.tab(person, streamPage(server, 'facts'))
  await inState(page, 'live')
  await page.locator('.fact-panel > summary').click()
  const facts = page.locator('.facts')
  await facts.getByText('shop-1 (epoch 3, seq 0)').waitFor()
  for (const text of [headers.get('stream-next-offset'), JSON_TYPE, '2 hours after its last use']) await facts.getByText(text, { exact: true }).waitFor()
  const { headers: head } = await server.request('HEAD', 'facts')
  await facts.getByText(head.get('etag'), { exact: true }).waitFor()
  await page.close()
})

test('viewers see each other, and who types', async () => {
  await server.create('meeting', 'text/plain')
  const other = await browser.person()
  const mine = await browser.tab(person, streamPage(server, 'meeting'))
  const theirs = await browser.tab(other, streamPage(server, 'meeting'))
  for (const page of [mine, theirs]) await page.locator('.viewers').getByText('1 other viewer').waitFor()
  await theirs.getByLabel('Message', { exact: true }).pressSequentially('hello')
  await mine.locator('.typing').getByText('typing…').waitFor()
  await row(mine, 'meeting').getByTitle('Someone types').waitFor()
  await until('typing ends by itself', async () => (await mine.locator('.typing').textContent()) === '')
  // Not by closing it: that may end its process before the last request is out, and then it is gone a minute later.
  await theirs.goto('about:blank')
  await until('whoever leaves is gone', async () => (await mine.locator('.viewers').textContent()) === '')
  const events = JSON.parse(await server.read('__presence__'))
  assert.deepEqual(Object.keys(events[0]).sort(), ['headers', 'key', 'type', 'value'])
  await mine.close()
  await other.close()
})

test('the look can be changed, and stays', async () => {
  const page = await browser.tab(await browser.person({ colorScheme: 'light' }), `${server.url}/ui/`)
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const light = await background()
  await page.getByLabel('Change between light and dark').click()
  const dark = await background()
  assert.notEqual(dark, light)
  await page.reload()
  assert.equal(await background(), dark)
  await page.context().close()
})

test('on a phone the list opens over the page', async () => {
  await server.create('pocket', 'text/plain')
  const phone = await browser.person({ viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true })
  const page = await browser.tab(phone, `${server.url}/ui/`)
  assert.equal(await page.locator('.sidebar').isVisible(), false)
  await page.getByLabel('Show the list of streams').tap()
  await row(page, 'pocket').locator('a').tap()
  await inState(page, 'live')
  await page.locator('.sidebar').waitFor({ state: 'hidden' })
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  assert.equal(overflow, 0, 'nothing sticks out at the side')
  await page.getByLabel('Message', { exact: true }).fill('from a phone')
  await page.getByRole('button', { name: 'Send' }).tap()
  await page.locator('.block').getByText('from a phone').waitFor()
  await phone.close()
})

test('every control has a name', async () => {
  await server.create('named', JSON_TYPE)
  await server.append('named', JSON_TYPE, '[{"a":1}]')
  const page = await browser.tab(person, streamPage(server, 'named'))
  await inState(page, 'live')
  await page.locator('.card').first().waitFor()
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll('button, a, input, select, textarea')]
      .filter((element) => element.checkVisibility() && !(element.ariaLabel || element.textContent.trim() || element.labels?.length || element.title))
      .map((element) => element.outerHTML),
  )
  assert.deepEqual(nameless, [])
  await page.close()
})
