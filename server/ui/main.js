// Starts the page: the list at the side, and beside it what the address names.

import { config, loadConfig, token } from './api.js'
import * as dialogs from './dialogs.js'
import { h, notify, takesText } from './dom.js'
import * as format from './format.js'
import { Presence } from './presence.js'
import { Sidebar } from './sidebar.js'
import { StreamPage } from './stream-page.js'
import { Streams } from './streams.js'

const THEME = 'everstream.theme'

const streams = new Streams()
const presence = new Presence()
const main = document.getElementById('main')
const menu = document.getElementById('menu')
let sidebar
let page = null
let shownPath = null

async function start() {
  showTheme()
  try {
    await loadConfig()
  } catch (error) {
    main.replaceChildren(h('div', { class: 'center' }, h('p', {}, `This page does not reach its server: ${error.message}.`), h('button', { class: 'button primary', onclick: () => location.reload() }, 'Try again')))
    return
  }
  const badge = document.getElementById('mode')
  badge.hidden = !config.readOnly
  badge.textContent = 'read-only'
  document.getElementById('token').hidden = !config.access
  sidebar = new Sidebar(document.getElementById('sidebar'), streams, presence, { create, remove, open })
  wire()
  route()
  await streams.start()
  await presence.start()
}

/** `#/`, or `#/s/<path>` with `?offset=` where reading is to begin. */
function route() {
  const match = /^#\/s\/([^?]+)(?:\?offset=(.+))?$/.exec(location.hash)
  const path = match ? decodeURIComponent(match[1]) : null
  page?.destroy()
  page = null
  shownPath = path
  showMenu(false)
  if (path === null) showHome()
  else {
    page = new StreamPage(path, match[2] ? decodeURIComponent(match[2]) : null, streams, presence)
    main.replaceChildren(page.element)
  }
  document.title = path === null ? 'Everstream' : `${path} · Everstream`
  sidebar.setActive(path)
  presence.view(path)
}

function showHome() {
  const counts = h('p', { class: 'home-counts', role: 'status' })
  const url = new URL('..', document.baseURI).href
  main.replaceChildren(
    h(
      'section',
      { class: 'home' },
      h('h1', {}, 'Streams that stay'),
      counts,
      h('p', {}, 'Choose a stream at the side to watch it live, or make one.'),
      h('div', { class: 'buttons start' }, !config.readOnly && h('button', { class: 'button primary', onclick: create }, 'New stream'), h('button', { class: 'button', onclick: () => dialogs.keys() }, 'Keyboard')),
      h('h2', {}, 'From a terminal'),
      h('pre', { class: 'code', tabindex: '0' }, [`export STREAM_URL=${url.replace(/\/$/, '')}`, 'everstream create hello --content-type text/plain', "everstream write hello 'Hello, world\\n'", 'everstream read hello'].join('\n')),
      h('p', { class: 'muted' }, `Everstream ${config.version}`),
    ),
  )
  const show = () => {
    if (!counts.isConnected) return streams.removeEventListener('change', show)
    counts.textContent = streams.state === 'ready' ? `${format.plural(streams.size, 'stream')}, ${format.bytes(streams.bytes)}` : ''
  }
  streams.addEventListener('change', show)
  show()
}

async function create() {
  const path = await dialogs.create()
  if (!path) return
  await streams.look()
  open(path)
}

function open(path) {
  const hash = `#/s/${encodeURIComponent(path)}`
  if (location.hash === hash) route()
  else location.hash = hash
}

async function remove(path) {
  if (!(await dialogs.remove(path))) return
  notify(`${path} is deleted`)
  await streams.look()
  if (shownPath === path) location.hash = '#/'
}

async function changeToken(why) {
  // Everything that was asked for without it is asked for again.
  if (await dialogs.askForToken(why)) location.reload()
}

let wasAsked = false

/** Asked for once: whoever declines goes on without, and has a button. */
function askForToken() {
  if (wasAsked) return
  wasAsked = true
  changeToken(token.get() ? 'The server does not know this token, or it has expired.' : 'This server asks who you are.')
}

function wire() {
  window.addEventListener('hashchange', route)
  window.addEventListener('create-stream', create)
  window.addEventListener('token-needed', askForToken)
  document.getElementById('token').addEventListener('click', () => changeToken('Requests of this page carry it.'))
  document.getElementById('help').addEventListener('click', () => dialogs.keys())
  document.getElementById('theme').addEventListener('click', switchTheme)
  // The address names a stream, and no place on the page.
  document.querySelector('.skip').addEventListener('click', (event) => (event.preventDefault(), main.focus()))
  menu.addEventListener('click', () => showMenu(menu.getAttribute('aria-expanded') !== 'true'))
  document.addEventListener('keydown', shortcut)
}

function shortcut(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return
  if (event.key === 'Escape') {
    if (takesText(event.target)) event.target.blur()
    return showMenu(false)
  }
  if (takesText(event.target)) return
  const action = {
    '/': () => (showMenu(true), sidebar.focusSearch()),
    '?': () => dialogs.keys(),
    n: () => !config.readOnly && create(),
    p: () => page?.togglePause(),
    e: () => page?.end(),
    x: () => page?.unfold(),
    f: () => page?.focusFilter(),
    g: () => page?.focusJump(),
    m: () => page?.focusComposer(),
  }[event.key]
  if (!action) return
  event.preventDefault()
  action()
}

/** On narrow screens the list lies over the page. */
function showMenu(on) {
  menu.setAttribute('aria-expanded', String(on))
  document.body.classList.toggle('menu-open', on)
}

function showTheme() {
  const theme = localStorage.getItem(THEME)
  if (theme) document.documentElement.dataset.theme = theme
}

function switchTheme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches
  localStorage.setItem(THEME, isDark ? 'light' : 'dark')
  showTheme()
}

start()
