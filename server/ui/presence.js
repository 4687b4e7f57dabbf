// Who looks at which stream, and who types: State Protocol events in the stream `__presence__`, as the official test page
// has them (API.md section 5).

import { config, onStream, PRESENCE } from './api.js'
import { BEGINNING, offsetOf, positionOf } from './offsets.js'

const HEARTBEAT = 50_000
const STALE = 60_000
const TYPING = 3_000
const POLL = 1_000
/** So much of the end of the stream has everyone who is not stale. */
const RECENT = 256 << 10
/** A presence stream that nobody uses goes away. */
const LIFETIME = 86_400
const COLORS = 7

export class Presence extends EventTarget {
  #people = new Map()
  #offset = null
  #sending = Promise.resolve()
  #typingTimer = null
  #isTyping = false
  #path = null
  #user = remembered(localStorage, 'everstream.user')
  #session = remembered(sessionStorage, 'everstream.session')
  #isOn = false

  async start() {
    try {
      if (!config.readOnly) await this.#open()
      const head = await onStream('HEAD', PRESENCE)
      const end = positionOf(head.headers.get('stream-next-offset'))
      this.#offset = end > RECENT ? offsetOf(end - RECENT) : BEGINNING
    } catch {
      // Not for this token, or this page only reads and nobody else was here.
      return
    }
    this.#isOn = true
    this.#say()
    setInterval(() => this.#poll(), POLL)
    setInterval(() => this.#say(), HEARTBEAT)
    addEventListener('pagehide', () => this.#leave())
    addEventListener('pageshow', (event) => event.persisted && this.#say())
    this.#poll()
  }

  /** This page shows a stream, or none. */
  view(path) {
    if (path === this.#path) return
    this.#path = path
    this.#isTyping = false
    this.#say()
  }

  /** Something was typed. */
  type() {
    clearTimeout(this.#typingTimer)
    this.#typingTimer = setTimeout(() => this.#setTyping(false), TYPING)
    this.#setTyping(true)
  }

  stopTyping() {
    clearTimeout(this.#typingTimer)
    this.#setTyping(false)
  }

  /** The others who look at a stream: `{ id, color, isTyping }`. */
  viewersOf(path) {
    const now = Date.now()
    return [...this.#people.values()]
      .filter((person) => person.streamPath === path && person.sessionId !== this.#session && now - person.lastSeen < STALE)
      .map((person) => ({
        id: String(person.userId ?? '').slice(0, 8),
        color: colorOf(String(person.userId)),
        isTyping: person.isTyping === true,
      }))
  }

  #setTyping(isTyping) {
    if (this.#isTyping === isTyping) return
    this.#isTyping = isTyping
    this.#say()
  }

  async #open() {
    try {
      await onStream('HEAD', PRESENCE)
    } catch (error) {
      if (error.status !== 404) throw error
      await onStream('PUT', PRESENCE, { headers: { 'content-type': 'application/json', 'stream-ttl': String(LIFETIME) } })
    }
  }

  #say() {
    if (!this.#isOn || config.readOnly) return
    const value = {
      userId: this.#user,
      route: this.#path === null ? '/' : `/stream/${encodeURIComponent(this.#path)}`,
      isTyping: this.#isTyping,
      lastSeen: Date.now(),
      color: colorOf(this.#user),
      sessionId: this.#session,
    }
    if (this.#path !== null) value.streamPath = this.#path
    this.#send({ type: 'presence', key: this.#session, value, headers: { operation: 'upsert' } })
  }

  #leave() {
    if (!this.#isOn || config.readOnly) return
    const event = { type: 'presence', key: this.#session, headers: { operation: 'delete' } }
    post(event, { keepalive: true }).catch(() => {})
  }

  /** One after the other: the last one counts. */
  #send(event) {
    this.#sending = this.#sending
      .then(() => post(event))
      .catch(async (error) => {
        if (error.status !== 404) return
        await this.#open()
        await post(event)
      })
      .catch(() => {})
  }

  async #poll() {
    if (document.hidden || this.isPolling) return
    this.isPolling = true
    try {
      const answer = await onStream('GET', PRESENCE, { query: { offset: this.#offset } })
      const events = await answer.json()
      this.#offset = answer.headers.get('stream-next-offset')
      for (const { key, value, headers } of events) {
        if (headers?.operation === 'delete') this.#people.delete(key)
        else if (value) this.#people.set(key, value)
      }
    } catch (error) {
      // Deleted: whoever comes next begins anew.
      if (error.status === 404 || error.status === 410) this.#offset = BEGINNING
    }
    this.isPolling = false
    this.dispatchEvent(new Event('change'))
  }
}

function post(event, options) {
  const body = JSON.stringify([event])
  return onStream('POST', PRESENCE, { headers: { 'content-type': 'application/json' }, body, ...options })
}

function remembered(storage, key) {
  let id = storage.getItem(key)
  if (!id) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('')
    storage.setItem(key, id)
  }
  return id
}

/** One of the colours of the palette, as a number. */
function colorOf(user) {
  let hash = 0
  for (let i = 0; i < user.length; i += 1) hash = (hash * 31 + user.charCodeAt(i)) >>> 0
  return hash % COLORS
}
