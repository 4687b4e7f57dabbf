// Which streams there are: the listing once, then the registry for what comes and goes, and the listing again for sizes.

import { onControl, onStream, REGISTRY } from './api.js'

const PAGE = 1000
/** How often the registry is asked. A connection held open for it would take one of the six that browsers have. */
const NEWS = 1_000
/** How often sizes are looked at anew. */
const SIZES = 2_500

export class Streams extends EventTarget {
  #known = new Map()
  #sorted = null
  #registryOffset = null
  /** When the registry last said something about a path: a listing that was asked for before that is older. */
  #news = new Map()
  #timers = []
  #prefix = ''
  /** The rows that someone looks at, for sizes when there are many streams. */
  visible = () => []
  /** `loading`, `ready`, `refused` or `failed`. */
  state = 'loading'
  error = ''

  get(path) {
    return this.#known.get(path)
  }

  get size() {
    return this.#known.size
  }

  /** All of them by name. */
  all() {
    this.#sorted ??= [...this.#known.values()].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
    return this.#sorted
  }

  get bytes() {
    let sum = 0
    for (const stream of this.#known.values()) sum += stream.bytes ?? 0
    return sum
  }

  /** Streams that begin with the data of this one. */
  forksOf(path) {
    return this.all().filter((stream) => stream.forkedFrom === path)
  }

  async start(prefix = '') {
    this.stop()
    this.#prefix = prefix
    this.#known.clear()
    await this.#load()
    this.#every(NEWS, () => this.#follow())
    this.#every(SIZES, () => this.#refresh())
  }

  stop() {
    this.#timers.forEach(clearInterval)
    this.#timers = []
  }

  /** Something was created or deleted here; it need not wait for the registry. */
  async look() {
    await this.#follow().catch(() => {})
  }

  #every(millis, action) {
    let isBusy = false
    this.#timers.push(
      setInterval(async () => {
        if (isBusy || document.hidden) return
        isBusy = true
        await action().catch(() => {})
        isBusy = false
      }, millis),
    )
  }

  async #load() {
    try {
      // First where the registry is, then what there is: what happens in between is seen twice and not missed.
      this.#registryOffset = await this.#registryTail()
      for (let after = null; ; ) {
        const page = await this.#page(after)
        this.#take(page.streams)
        if (!page.next) break
        after = page.next
      }
      this.state = 'ready'
    } catch (error) {
      this.state = error.status === 403 || error.status === 401 ? 'refused' : 'failed'
      this.error = error.message
    }
    this.#changed()
  }

  async #registryTail() {
    try {
      const answer = await onStream('GET', REGISTRY, { query: { offset: 'now' } })
      return answer.headers.get('stream-next-offset')
    } catch {
      // Not for this token, or the server keeps none: then the listing alone says what there is.
      return null
    }
  }

  async #page(after) {
    const query = { limit: String(PAGE) }
    if (this.#prefix) query.prefix = this.#prefix
    if (after) query.after = after
    return (await onControl('GET', 'streams', { query })).json()
  }

  #take(streams) {
    for (const stream of streams) this.#known.set(stream.path, stream)
    this.#changed()
  }

  async #follow() {
    if (this.state === 'failed') return this.#load()
    if (this.#registryOffset === null || this.state !== 'ready') return
    for (;;) {
      const answer = await onStream('GET', REGISTRY, { query: { offset: this.#registryOffset } })
      const events = await answer.json()
      this.#registryOffset = answer.headers.get('stream-next-offset')
      for (const event of events) this.#apply(event)
      if (events.length > 0) this.#changed()
      if (answer.headers.has('stream-up-to-date')) return
    }
  }

  #apply({ key, value, headers }) {
    this.#news.set(key, performance.now())
    if (headers?.operation === 'delete') {
      this.#known.delete(key)
      this.dispatchEvent(new CustomEvent('deleted', { detail: key }))
    } else if (value && key.startsWith(this.#prefix)) {
      const known = this.#known.get(key)
      if (known?.createdAt !== value.createdAt) this.#known.set(key, { bytes: null, closed: false, ...value })
    }
  }

  /** What sizes are now: of all streams if one page has them, else of those in view. */
  async #refresh() {
    if (this.state !== 'ready') return
    const asked = performance.now()
    const isOlder = (path) => (this.#news.get(path) ?? 0) > asked
    if (this.#known.size < PAGE) {
      const page = await this.#page(null)
      const there = new Set(page.streams.map((stream) => stream.path))
      if (!page.next) for (const path of this.#known.keys()) if (!there.has(path) && !isOlder(path)) this.#known.delete(path)
      return this.#take(page.streams.filter((stream) => !isOlder(stream.path)))
    }
    const facts = await Promise.all(this.visible().slice(0, 40).map((path) => this.#facts(path)))
    this.#take(facts.filter((facts) => facts !== null && !isOlder(facts.path)))
  }

  async #facts(path) {
    const query = { prefix: path, limit: '1' }
    const page = await (await onControl('GET', 'streams', { query })).json()
    return page.streams.find((stream) => stream.path === path) ?? null
  }

  #changed() {
    this.#sorted = null
    this.dispatchEvent(new Event('change'))
  }
}
