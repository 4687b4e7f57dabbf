// The list of all streams: live, searchable, and windowed like everything that may be long.

import { config, isSystem } from './api.js'
import { h } from './dom.js'
import * as format from './format.js'
import { VirtualList } from './virtual.js'

const ROW = 52
const ORDERS = {
  name: { label: 'by name', compare: null },
  newest: { label: 'newest first', compare: (a, b) => b.createdAt - a.createdAt },
  size: { label: 'largest first', compare: (a, b) => (b.bytes ?? 0) - (a.bytes ?? 0) },
}

export class Sidebar {
  #streams
  #presence
  #actions
  #shown = []
  #active = null
  #list
  #search = h('input', { type: 'search', class: 'input', placeholder: 'Search streams  ( / )', 'aria-label': 'Search streams', spellcheck: 'false', autocomplete: 'off' })
  #order = h('select', { class: 'input small', 'aria-label': 'Order' }, ...Object.entries(ORDERS).map(([value, { label }]) => h('option', { value }, label)))
  #summary = h('span', { class: 'muted grow', role: 'status' })
  #empty = h('div', { class: 'empty' })

  /** @param actions `create()`, `remove(path)`, `open(path)` */
  constructor(element, streams, presence, actions) {
    this.#streams = streams
    this.#presence = presence
    this.#actions = actions
    this.#list = new VirtualList({ label: 'Streams', estimate: () => ROW, render: (row) => this.#row(row) })
    this.#list.isFollowing = false
    this.#list.element.classList.add('streams')
    this.#list.element.addEventListener('keydown', (event) => this.#key(event))
    streams.visible = () => this.#shown.slice(this.#list.firstRow, this.#list.lastRow + 1).map((stream) => stream.path)
    this.#search.addEventListener('input', () => this.update(true))
    this.#search.addEventListener('keydown', (event) => this.#searchKey(event))
    this.#order.addEventListener('change', () => this.update(true))
    const create = config.readOnly ? null : h('button', { class: 'button primary', onclick: () => actions.create(), title: 'New stream (n)' }, '+ New')
    element.append(
      h('div', { class: 'sidebar-head' }, h('div', { class: 'line' }, this.#search, create), h('div', { class: 'line' }, this.#summary, this.#order)),
      this.#list.element,
      this.#empty,
    )
    streams.addEventListener('change', () => this.update())
    presence.addEventListener('change', () => this.update())
    this.update()
  }

  focusSearch() {
    this.#search.focus()
    this.#search.select()
  }

  setActive(path) {
    this.#active = path
    this.update()
  }

  update(isOther = false) {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean)
    let shown = this.#streams.all()
    if (words.length > 0) {
      shown = shown.filter(({ path, contentType }) => {
        const text = `${path} ${contentType}`.toLowerCase()
        return words.every((word) => text.includes(word))
      })
    }
    const { compare } = ORDERS[this.#order.value]
    if (compare) shown = [...shown].sort(compare)
    const before = this.#shown
    this.#shown = shown
    if (isOther) this.#list.element.scrollTop = 0
    if (shown.length < this.#list.count) this.#list.reset(shown.length)
    else this.#list.grow(shown.length)
    if (isOther || before !== shown) this.#refreshRows()
    this.#summarize(words.length > 0)
  }

  /** Only rows that say something else are made anew: a button that is about to be pressed stays. */
  #refreshRows() {
    for (const element of this.#list.element.querySelectorAll('.row')) {
      const row = Number(element.dataset.row)
      if (this.#shown[row] && element.dataset.signature !== this.#signature(this.#shown[row])) this.#list.invalidate(row)
    }
  }

  #signature(stream) {
    const viewers = this.#presence.viewersOf(stream.path)
    return JSON.stringify([stream.path, stream.contentType, stream.bytes, stream.closed, stream.ttl, stream.forkedFrom, stream.path === this.#active, viewers])
  }

  #summarize(isSearch) {
    const { state, size } = this.#streams
    const shown = this.#shown.length
    this.#summary.textContent =
      state === 'ready' ? (isSearch ? `${format.number(shown)} of ${format.plural(size, 'stream')}` : format.plural(size, 'stream')) : ''
    const text = {
      loading: 'Loading streams…',
      refused: 'This token may not list all streams. Type the path of one, or what those begin with that it may list, and press Enter.',
      failed: `Streams cannot be listed: ${this.#streams.error}`,
      ready: isSearch ? 'No stream matches. Press Enter to open this path.' : 'There are no streams yet.',
    }[state]
    this.#empty.hidden = shown > 0
    this.#empty.textContent = text
  }

  #row(row) {
    const stream = this.#shown[row]
    const { path } = stream
    const viewers = this.#presence.viewersOf(path)
    const facts = [format.shortType(stream.contentType), stream.bytes === null ? '…' : format.bytes(stream.bytes)]
    const element = h(
      'div',
      { class: `stream${path === this.#active ? ' active' : ''}${isSystem(path) ? ' system' : ''}` },
      h(
        'a',
        { class: 'stream-link', href: `#/s/${encodeURIComponent(path)}`, 'aria-current': path === this.#active ? 'page' : null },
        h('span', { class: 'stream-path', title: path }, path),
        h(
          'span',
          { class: 'stream-facts' },
          h('span', { class: `type ${format.kindOf(stream.contentType)}` }, facts[0]),
          h('span', {}, facts[1]),
          stream.closed && h('span', { class: 'tag' }, 'closed'),
          (stream.ttl !== undefined || stream.expiresAt) && h('span', { class: 'tag', title: stream.expiresAt ?? `${format.seconds(stream.ttl)} after the last use` }, 'expires'),
          stream.forkedFrom && h('span', { class: 'tag', title: `Fork of ${stream.forkedFrom}` }, 'fork'),
          viewers.some((viewer) => viewer.isTyping) && h('span', { class: 'typing-mark', title: 'Someone types' }, '⌛'),
          ...viewers.slice(0, 6).map((viewer) => h('span', { class: `dot c${viewer.color}`, title: `User ${viewer.id}`, role: 'img', 'aria-label': `User ${viewer.id} looks at this` })),
        ),
      ),
      config.readOnly || path === '__registry__'
        ? null
        : h('button', { class: 'icon-button remove', 'aria-label': `Delete ${path}`, title: 'Delete', onclick: () => this.#actions.remove(path) }, '×'),
    )
    element.dataset.signature = this.#signature(stream)
    return element
  }

  #searchKey(event) {
    if (event.key === 'ArrowDown' && this.#shown.length > 0) {
      event.preventDefault()
      this.#focus(0)
    } else if (event.key === 'Enter') {
      this.#enter(this.#search.value.trim())
    } else if (event.key === 'Escape') {
      this.#search.value = ''
      this.update(true)
    }
  }

  /** Opens the first stream found, or the one of that path; a token that may not list all may list some. */
  async #enter(typed) {
    if (typed === '') return
    if (this.#streams.state === 'refused') {
      await this.#streams.start(typed)
      if (this.#streams.state === 'ready') return
    }
    this.#actions.open(this.#shown[0]?.path ?? typed)
  }

  #key(event) {
    const row = Number(event.target.closest?.('.row')?.dataset.row ?? -1)
    const to = { ArrowDown: row + 1, ArrowUp: row - 1, Home: 0, End: this.#shown.length - 1 }[event.key]
    if (event.key === 'Delete' && row >= 0 && !config.readOnly) this.#actions.remove(this.#shown[row].path)
    else if (to === -1) this.#search.focus()
    else if (to === undefined || to >= this.#shown.length) return
    else this.#focus(to)
    event.preventDefault()
  }

  #focus(row) {
    this.#list.reveal(row)?.querySelector('a').focus({ preventScroll: true })
  }
}
