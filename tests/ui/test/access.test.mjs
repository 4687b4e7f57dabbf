// Who may do what, and pages that only show.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { Browser, inState, JSON_TYPE, Server, streamPage } from './support.mjs'

const browser = await Browser.start()
after(() => browser.end())

const sha256 = (text) => createHash('sha256').update(text).digest('hex')

/** Gives the dialog a token. The page begins anew with it, and what it showed before is gone then. */
async function useToken(page, token) {
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Bearer token').fill(token)
  await Promise.all([page.waitForEvent('load'), dialog.getByRole('button', { name: 'Use it' }).click()])
}

/** Writes into a field and presses Enter there, also if it was drawn anew in between and has lost the focus. */
async function enter(field, text) {
  await field.fill(text)
  await field.press('Enter')
}

test('with access rules the page asks for a token and shows what it may', async (t) => {
  const config = path.join(tmpdir(), `everstream-ui-${process.pid}.toml`)
  await writeFile(
    config,
    `[[access.tokens]]
name = "all"
sha256 = "${sha256('everything')}"
grants = [{ streams = ["**"], allow = ["read", "append", "create", "delete", "admin"] }]
[[access.tokens]]
name = "some"
sha256 = "${sha256('a-little')}"
grants = [{ streams = ["open/*"], allow = ["read"] }]
[[access.tokens]]
name = "part"
sha256 = "${sha256('one-folder')}"
grants = [{ streams = ["open/**"], allow = ["read", "admin"] }]
`,
  )
  const server = await Server.start('--config', config)
  t.after(() => server.end())
  const auth = { authorization: 'Bearer everything' }
  await server.create('open/a', JSON_TYPE, auth)
  await server.append('open/a', JSON_TYPE, '[{"n":0}]', auth)
  assert.equal((await fetch(`${server.url}/ui/main.js`)).status, 200, 'files need no token')

  const person = await browser.person()
  const page = await browser.tab(person, `${server.url}/ui/`)
  const dialog = page.getByRole('dialog')
  await dialog.getByText('This server asks who you are').waitFor()
  await useToken(page, 'wrong')
  await dialog.getByText('does not know this token').waitFor()
  await useToken(page, 'everything')
  await page.locator('.stream-path', { hasText: 'open/a' }).click()
  await inState(page, 'live')
  await page.locator('[aria-label="Message 1"]').waitFor()
  await enter(page.getByLabel('Message', { exact: true }), '{"n":1}')
  await page.locator('[aria-label="Message 2"]').waitFor()
  await page.reload()
  await page.locator('[aria-label="Message 2"]').waitFor()
  // It is in this tab alone, and in no address.
  const stored = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie, location.href].join())
  assert(!stored.includes('everything'))
  const other = await browser.tab(person, `${server.url}/ui/`)
  await other.getByRole('dialog').waitFor()
  await other.keyboard.press('Escape')
  await other.goto(streamPage(server, 'open/a'))
  await other.getByText('a token is needed').waitFor()
  assert.equal(await other.getByRole('dialog').count(), 0, 'whoever declines is not asked again')
  await other.getByRole('button', { name: 'Token' }).click()

  await useToken(other, 'a-little')
  await other.getByText('This token may not list all streams').waitFor()
  // The address names this stream already, so it is shown; the search opens it anew once the server has been asked.
  await other.locator('.stream-page').evaluate((shown) => shown.setAttribute('data-before', ''))
  await enter(other.getByLabel('Search streams'), 'open/a')
  await other.locator('.stream-page:not([data-before]) [aria-label="Message 2"]').waitFor()
  await enter(other.getByLabel('Message', { exact: true }), '3')
  await other.getByText('Not sent: this token may not do that').waitFor()

  // Whoever leaves before the answer is there hears of it too, and finds the message where it was written.
  let answer
  const asked = new Promise((resolve) => {
    other.route('**/v1/stream/open/a', (route) => {
      if (route.request().method() !== 'POST') return route.continue()
      answer = () => route.continue()
      resolve()
    })
  })
  await enter(other.getByLabel('Message', { exact: true }), '4')
  await asked
  await other.goto(`${server.url}/ui/#/`)
  await other.locator('.home').waitFor()
  answer()
  await other.getByText('open/a: Not sent: this token may not do that').waitFor()
  await other.goto(streamPage(server, 'open/a'))
  await other.locator('[aria-label="Message 2"]').waitFor()
  assert.equal(await other.getByLabel('Message', { exact: true }).inputValue(), '4')

  await other.getByRole('button', { name: 'Token' }).click()
  await useToken(other, 'one-folder')
  await other.getByText('This token may not list all streams').waitFor()
  await enter(other.getByLabel('Search streams'), 'open/')
  await other.locator('.stream-path', { hasText: 'open/a' }).waitFor()
  await server.create('open/b', JSON_TYPE, auth)
  await other.locator('.stream-path', { hasText: 'open/b' }).waitFor()
  await person.close()
  browser.check()
})

test('a read-only page shows and offers nothing that changes', async (t) => {
  const server = await Server.start('--ui', 'read-only')
  t.after(() => server.end())
  await server.create('shown', JSON_TYPE)
  await server.append('shown', JSON_TYPE, '[{"n":0}]')
  const person = await browser.person()
  const page = await browser.tab(person, streamPage(server, 'shown'))
  await page.locator('[aria-label="Message 1"]').waitFor()
  await page.locator('.badge', { hasText: 'read-only' }).waitFor()
  for (const name of ['Fork', 'Close', 'Delete', '+ New', 'Send', 'fork']) {
    assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, name)
  }
  await page.keyboard.press('n')
  assert.equal(await page.getByRole('dialog').count(), 0)
  assert.equal(await server.exists('__presence__'), false, 'it does not even say that it is there')
  await person.close()
  browser.check()
})

test('there is no page where it is off', async (t) => {
  const server = await Server.start('--ui', 'off')
  t.after(() => server.end())
  for (const name of ['/ui', '/ui/', '/ui/main.js', '/ui/config.json']) assert.equal((await fetch(server.url + name)).status, 404)
})

test('a page behind a path of a proxy and with streams at the root works', async (t) => {
  const server = await Server.start('--root')
  t.after(() => server.end())
  await fetch(`${server.url}/at-root`, { method: 'PUT', headers: { 'content-type': JSON_TYPE }, body: '[{"n":0}]' })
  const person = await browser.person()
  const page = await browser.tab(person, streamPage(server, 'at-root'))
  await page.locator('[aria-label="Message 1"]').waitFor()
  await inState(page, 'live')
  await person.close()
  browser.check()
})
