// Messages: shown by their type, followed, looked through, written.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { Browser, inState, JSON_TYPE, Server, shell, streamPage, until } from './support.mjs'

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

async function opened(name, offset) {
  const page = await browser.tab(person, streamPage(server, name, offset))
  await inState(page, 'live')
  return page
}

const message = (page, number) => page.locator(`[aria-label="Message ${number}"]`)
const composer = (page) => page.getByLabel('Message', { exact: true })

test('JSON messages are cards with a tree, and with the text as it is stored', async () => {
  await server.create('json', JSON_TYPE)
  const text = '{ "id":12345678901234567890, "name":"a,]}\\"\\\\", "deep":{"list":[1,{"x":null}]}, "f":1.50 }'
  await server.append('json', JSON_TYPE, `[${text},[1,2],"just text",true]`)
  const page = await opened('json')
  assert.equal(await page.locator('.card').count(), 4)
  await message(page, 1).locator('.card-toggle').click()
  const tree = message(page, 1).locator('.tree')
  await tree.getByText('12345678901234567890', { exact: true }).waitFor()
  await tree.getByText('1.50', { exact: true }).waitFor()
  assert.equal(await tree.getByText('list').count(), 0, 'deeper levels are folded')
  await tree.locator('summary', { hasText: 'deep' }).click()
  await tree.locator('summary', { hasText: 'list' }).click()
  await tree.locator('summary', { hasText: '1: { 1 }' }).click()
  await tree.getByText('null', { exact: true }).waitFor()
  await message(page, 1).getByRole('button', { name: 'raw' }).click()
  assert.equal(await message(page, 1).locator('pre').textContent(), text)
  await message(page, 1).getByRole('button', { name: 'copy' }).click()
  await until('it is in the clipboard', async () => (await page.evaluate(() => navigator.clipboard.readText())) === text)
  // The same by keys.
  await message(page, 2).locator('.card-toggle').focus()
  await page.keyboard.press('ArrowRight')
  await message(page, 2).locator('.tree').waitFor()
  await page.keyboard.press('r')
  assert.equal(await message(page, 2).locator('pre').textContent(), '[1,2]')
  await page.keyboard.press('ArrowLeft')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await message(page, 3).locator('.tree').getByText('"just text"').waitFor()
  await page.keyboard.press('x')
  await message(page, 4).locator('.tree').waitFor()
  await page.close()
})

test('text grows in place, whatever the pieces', async () => {
  await server.create('text', 'text/plain')
  const page = await opened('text')
  await page.getByText('Listening for new messages…').count()
  let all = ''
  for (const piece of ['Once ', 'upon', ' a time\n', '  there was <b>a</b> stream 😀', '\n\n', 'The end.']) {
    await server.append('text', 'text/plain', piece)
    all += piece
  }
  await until('all of it is there', async () => (await page.locator('.block').allTextContents()).join('\n') === all)
  await page.close()
})

test('bytes are shown in hexadecimal and can be written in it', async () => {
  await server.create('bytes', 'application/octet-stream')
  await server.append('bytes', 'application/octet-stream', Buffer.from([0, 1, 254, 255, 65, 66]))
  const page = await opened('bytes')
  await page.locator('.hex-row').getByText('00 01 fe ff 41 42').waitFor()
  await page.locator('.hex-row').getByText('····AB').waitFor()
  await page.getByLabel('The message is written as').selectOption('hex')
  await composer(page).fill('de ad be')
  await page.keyboard.press('Enter')
  await page.locator('.hex-row').getByText('00 01 fe ff 41 42 de ad  be').waitFor()
  await composer(page).fill('xyz')
  await page.keyboard.press('Enter')
  await page.getByText('Hexadecimal is pairs').waitFor()
  await page.getByLabel('The message is written as').selectOption('base64')
  await composer(page).fill('////')
  await page.keyboard.press('Enter')
  await page.locator('.hex-row').getByText('be ff ff ff').waitFor()
  await page.close()
})

test('Enter sends, Shift+Enter makes a line, Ctrl+Enter sends and closes', async () => {
  await server.create('write', 'text/plain')
  const page = await opened('write')
  await composer(page).pressSequentially('one')
  await page.keyboard.press('Shift+Enter')
  await page.keyboard.type('two')
  await page.keyboard.press('Enter')
  await page.locator('.block').getByText('two').waitFor()
  assert.equal(await composer(page).inputValue(), '')
  await composer(page).fill('last')
  await page.keyboard.press('Control+Enter')
  await inState(page, 'closed')
  assert.equal(await server.read('write'), 'one\ntwo\nlast\n')
  assert.equal((await server.request('HEAD', 'write')).headers.get('stream-closed'), 'true')
  await until('there is nothing to write in', async () => (await page.locator('.composer').count()) === 0)
  await page.close()
})

test('what is not JSON is not sent, and an array stays one message', async () => {
  await server.create('strict', JSON_TYPE)
  const page = await opened('strict')
  await composer(page).fill('{"a":')
  await page.keyboard.press('Enter')
  await page.getByText('This is not JSON').waitFor()
  assert.equal(await composer(page).inputValue(), '{"a":')
  await composer(page).fill('[1, 2]')
  await page.keyboard.press('Enter')
  await message(page, 1).waitFor()
  assert.deepEqual(JSON.parse(await server.read('strict')), [[1, 2]])
  await page.close()
})

test('a message whose answer is lost is stored once', async () => {
  await server.create('once', JSON_TYPE)
  const page = await opened('once')
  let lost = 0
  await page.route('**/v1/stream/once', async (route) => {
    if (route.request().method() !== 'POST' || lost >= 2) return route.fallback()
    lost += 1
    // It arrives, and the answer does not.
    await route.fetch()
    await route.abort('connectionreset')
  })
  await composer(page).fill('{"n":1}')
  await page.keyboard.press('Enter')
  await composer(page).fill('{"n":2}')
  await page.keyboard.press('Enter')
  await message(page, 2).waitFor()
  await until('the first try was not the last', () => lost === 2)
  assert.deepEqual(JSON.parse(await server.read('once')), [{ n: 1 }, { n: 2 }])
  await page.close()
})

test('autoscroll yields to the reader and comes back', async () => {
  await server.create('scroll', JSON_TYPE)
  await server.append('scroll', JSON_TYPE, JSON.stringify(Array.from({ length: 300 }, (_, n) => ({ n }))))
  const page = await opened('scroll')
  await message(page, 300).waitFor()
  await page.locator('.messages .viewport').hover()
  await page.mouse.wheel(0, -4000)
  await until('it has scrolled', async () => (await message(page, 300).count()) === 0)
  const top = await page.locator('.messages .viewport').evaluate((element) => element.scrollTop)
  await server.append('scroll', JSON_TYPE, '[{"n":300},{"n":301}]')
  await page.getByRole('button', { name: '↓ 2 new' }).waitFor()
  assert.equal(await page.locator('.messages .viewport').evaluate((element) => element.scrollTop), top)
  await page.getByRole('button', { name: '↓ 2 new' }).click()
  await message(page, 302).waitFor()
  await server.append('scroll', JSON_TYPE, '[{"n":302}]')
  await message(page, 303).waitFor()
  await page.close()
})

test('paused, nothing comes; then all of it, and the lag shows meanwhile', async () => {
  await server.create('pause', JSON_TYPE)
  await server.append('pause', JSON_TYPE, '[0]')
  const page = await opened('pause')
  await message(page, 1).waitFor()
  await page.keyboard.press('p')
  await inState(page, 'paused')
  await server.append('pause', JSON_TYPE, `[1,2,"${'x'.repeat(3000)}"]`)
  await page.locator('.chart-text').getByText('2.9 KiB behind').waitFor()
  assert.equal(await page.locator('.card').count(), 1)
  await page.getByRole('button', { name: 'Go on' }).click()
  await message(page, 4).waitFor()
  await page.locator('.chart-text').getByText('up to date').waitFor()
  await page.close()
})

test('a filter shows what matches, of what is there and of what comes', async () => {
  await server.create('filter', JSON_TYPE)
  await server.append('filter', JSON_TYPE, JSON.stringify(Array.from({ length: 1000 }, (_, n) => ({ n, kind: n % 10 ? 'common' : 'Rare.' }))))
  const page = await opened('filter')
  await message(page, '1,000').waitFor()
  await page.keyboard.press('f')
  await page.keyboard.type('rare.')
  await page.getByText('100 messages', { exact: true }).waitFor()
  await server.append('filter', JSON_TYPE, '[{"kind":"rare."},{"kind":"rarely"}]')
  await page.getByText('101 messages', { exact: true }).waitFor()
  await message(page, '1,001').waitFor()
  await page.keyboard.press('Escape')
  await message(page, '1,002').waitFor()
  await page.close()

  await server.create('filter-text', 'text/plain')
  await server.append('filter-text', 'text/plain', Array.from({ length: 5000 }, (_, n) => `line ${n}\n`).join(''))
  const text = await opened('filter-text')
  await text.getByLabel('Filter messages').fill('LINE 49')
  await text.getByText('111 lines').waitFor()
  await server.append('filter-text', 'text/plain', 'line 4')
  await server.append('filter-text', 'text/plain', '9 again\n')
  await text.getByText('112 lines').waitFor()
  await text.locator('.block').getByText('line 49 again').waitFor()
  await text.close()
})

test('one can go to an offset and to the number of a message', async () => {
  await server.create('jump', JSON_TYPE)
  const first = await server.append('jump', JSON_TYPE, JSON.stringify(Array.from({ length: 500 }, (_, n) => n)))
  await server.append('jump', JSON_TYPE, JSON.stringify(Array.from({ length: 500 }, (_, n) => 500 + n)))
  const page = await opened('jump')
  await message(page, '1,000').waitFor()
  await page.keyboard.press('g')
  await page.keyboard.type('#250')
  await page.keyboard.press('Enter')
  await message(page, 250).getByText('249', { exact: true }).waitFor()
  const offset = first.headers.get('stream-next-offset')
  await page.getByLabel('Go to an offset').fill(offset)
  await page.keyboard.press('Enter')
  await message(page, 1).getByText('500', { exact: true }).waitFor()
  await until('the address names it', () => page.url().endsWith(`?offset=${offset}`))
  await page.getByRole('button', { name: 'From the beginning' }).click()
  await message(page, '1,000').waitFor()
  await page.getByLabel('Go to an offset').fill('nowhere')
  await page.keyboard.press('Enter')
  await page.getByText('That is neither an offset').waitFor()
  await page.close()

  const linked = await opened('jump', offset)
  await message(linked, 500).waitFor()
  assert.equal(await message(linked, 501).count(), 0)
  await linked.close()
})

test('the stream can be had as code, which does what it says', async () => {
  const copied = async (page, language, action) => {
    await page.evaluate(() => navigator.clipboard.writeText(''))
    await page.getByRole('button', { name: 'Code' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Language').selectOption(language)
    await dialog.getByLabel('Action').selectOption(action)
    await dialog.getByRole('button', { name: 'Copy' }).click()
    let text
    await until('it is copied', async () => (text = await page.evaluate(() => navigator.clipboard.readText())) !== '')
    return text
  }
  for (const [name, languages] of [["it's", ['curl']], ['a/stream/b', ['curl', 'cli']]]) {
    await server.create(name, JSON_TYPE)
    await server.append(name, JSON_TYPE, '[1]')
    const page = await opened(name)
    for (const language of languages) {
      assert.equal((await shell(await copied(page, language, 'read'))).trim(), '[1]')
    }
    assert((await copied(page, 'python', 'follow')).includes(`with stream("${server.stream(name)}"`))
    assert((await copied(page, 'javascript', 'append')).includes("import { DurableStream } from 'everstream'"))
    await shell(await copied(page, languages.at(-1), 'append'))
    await message(page, 2).waitFor()
    assert.deepEqual(JSON.parse(await server.read(name)), [1, { hello: 'world' }])
    await page.close()
  }
})

test('a closed stream is shown to its end; a deleted one keeps what was read', async () => {
  await server.create('ends', 'text/plain')
  await server.append('ends', 'text/plain', 'kept')
  const page = await opened('ends')
  await page.locator('.block').getByText('kept').waitFor()
  await server.append('ends', 'text/plain', ' to the last', { 'stream-closed': 'true' })
  await inState(page, 'closed')
  await page.locator('.block').getByText('kept to the last').waitFor()
  await page.close()

  await server.create('vanishes', 'text/plain')
  await server.append('vanishes', 'text/plain', 'seen')
  const gone = await opened('vanishes')
  await gone.locator('.block').getByText('seen').waitFor()
  await server.request('DELETE', 'vanishes')
  await inState(gone, 'gone')
  await gone.getByText('was deleted or has expired').waitFor()
  await gone.locator('.block').getByText('seen').waitFor()
  await gone.close()

  const missing = await browser.tab(person, streamPage(server, 'never/was'))
  await missing.getByText('There is no stream of this name.').waitFor()
  await missing.close()
})

test('content is never markup', async () => {
  const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
  await server.create('evil<b>', JSON_TYPE)
  await server.append('evil<b>', JSON_TYPE, JSON.stringify([{ [evil]: evil }]))
  const page = await opened('evil<b>')
  await message(page, 1).locator('.card-toggle').click()
  await message(page, 1).locator('.tree').getByText('onerror').first().waitFor()
  assert.equal(await page.locator('img[src="x"]').count(), 0)
  assert.equal(await page.title(), 'evil<b> · Everstream')
  await page.close()
  // Opened by itself, a stream of HTML is in an origin of its own.
  await server.create('page', 'text/html')
  await server.append('page', 'text/html', '<script>document.title = sessionStorage.length</script><p>page</p>')
  const answer = await fetch(server.stream('page'))
  assert.equal(answer.headers.get('content-security-policy'), 'sandbox')
})
