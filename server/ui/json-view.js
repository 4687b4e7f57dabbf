// JSON messages as cards: a line each, that unfolds to a tree or to the text as it is stored.

import { copy, h } from './dom.js'
import * as format from './format.js'
import { offsetOf, positionOf, utf8Length } from './offsets.js'
import { matcher, slowly } from './search.js'
import { VirtualList } from './virtual.js'

const ROW = 34
const PREVIEW = 240
const CHILDREN = 100
/** Beyond this much text the oldest messages are let go. */
const MOST = 384 << 20

/** The messages of an answer: the texts of the elements of one array (C-JSON-1). */
export function splitMessages(text) {
  const messages = []
  let depth = 0
  let start = -1
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i)
    if (code === 34) {
      if (depth === 1 && start === -1) start = i
      i = endOfString(text, i)
    } else if (code === 91 || code === 123) {
      if (depth === 1 && start === -1) start = i
      depth += 1
    } else if (code === 93 || code === 125) {
      depth -= 1
      if (depth === 0 && start !== -1) messages.push(text.slice(start, i).trimEnd())
    } else if (code === 44) {
      if (depth === 1) {
        messages.push(text.slice(start, i).trimEnd())
        start = -1
      }
    } else if (depth === 1 && start === -1 && code > 32) start = i
  }
  if (depth !== 0) throw new Error('an answer that is not whole')
  return messages
}

function endOfString(text, start) {
  let i = start
  for (;;) {
    i = text.indexOf('"', i + 1)
    if (i === -1) throw new Error('an answer that is not whole')
    let slashes = 0
    while (text.charCodeAt(i - 1 - slashes) === 92) slashes += 1
    if (slashes % 2 === 0) return i
  }
}

export class JsonView {
  #messages = []
  /** Where answers ended: `{ end: index after, next: position after }`. */
  #pieces = []
  /** Messages that were let go, for numbering. */
  #gone = 0
  #bytes = 0
  #open = new Map()
  #isOpenByDefault = false
  /** Indexes of messages that match, or null for all. */
  #matches = null
  #matcher = null
  #search = 0
  #list
  #actions

  /** @param actions `fork(offset)` or null, `onFollow(on)` */
  constructor(actions) {
    this.#actions = actions
    this.#list = new VirtualList({
      label: 'Messages',
      estimate: (row) => this.#estimate(row),
      render: (row) => this.#row(row),
      onFollow: actions.onFollow,
    })
    this.#list.element.classList.add('json')
    this.#list.element.addEventListener('keydown', (event) => this.#key(event))
    this.element = this.#list.element
  }

  get list() {
    return this.#list
  }

  get count() {
    return this.#gone + this.#messages.length
  }

  get bytes() {
    return this.#bytes
  }

  get matchCount() {
    return this.#matches?.length ?? null
  }

  /** How many messages came. */
  add(text, next) {
    const messages = splitMessages(text)
    const from = this.#messages.length
    for (const message of messages) this.#messages.push(message)
    this.#bytes += text.length
    this.#pieces.push({ end: this.#gone + this.#messages.length, next: positionOf(next) })
    if (this.#bytes > MOST) this.#letGo()
    else if (this.#matches === null) this.#list.grow(this.#messages.length)
    else {
      for (let i = from; i < this.#messages.length; i += 1) if (this.#matcher(this.#messages[i])) this.#matches.push(i)
      this.#list.grow(this.#matches.length)
    }
    return messages.length
  }

  reset() {
    this.#messages = []
    this.#pieces = []
    this.#gone = 0
    this.#bytes = 0
    this.#open.clear()
    if (this.#matches !== null) this.#matches = []
    this.#list.reset()
  }

  /** Shows only messages that contain the text. */
  async filter(text) {
    const search = (this.#search += 1)
    if (text === '') {
      this.#matcher = null
      this.#matches = null
      this.#list.reset(this.#messages.length)
      return
    }
    const matches = []
    const matcherOf = matcher(text)
    let next = 0
    await slowly(() => {
      // To the end as it is then: messages come meanwhile.
      for (let n = 0; n < 2_000 && next < this.#messages.length; n += 1, next += 1) {
        if (matcherOf(this.#messages[next])) matches.push(next)
      }
      return search !== this.#search || next >= this.#messages.length
    })
    if (search !== this.#search) return
    this.#matcher = matcherOf
    this.#matches = matches
    this.#list.reset(matches.length)
  }

  get canUnfold() {
    return true
  }

  get isUnfolded() {
    return this.#isOpenByDefault
  }

  unfoldAll(on) {
    this.#isOpenByDefault = on
    this.#open.clear()
    const first = this.#list.firstRow
    const isFollowing = this.#list.isFollowing
    this.#list.reset(this.#rowCount)
    if (!isFollowing) this.#list.scrollTo(first)
  }

  /** The row of a message by its number from 0, or of the next one that is shown; null if there is none. */
  rowOf(index) {
    const wanted = index - this.#gone
    if (wanted < 0 || wanted >= this.#messages.length) return null
    if (this.#matches === null) return wanted
    const row = this.#matches.findIndex((match) => match >= wanted)
    return row === -1 ? null : row
  }

  /** The position before a message, exact: answers hold nothing but the messages as they are stored, and a comma after each. */
  positionBefore(index) {
    return this.#positionAfter(index) - utf8Length(this.#messages[index - this.#gone]) - 1
  }

  destroy() {
    this.#search += 1
    this.#list.destroy()
  }

  get #rowCount() {
    return this.#matches?.length ?? this.#messages.length
  }

  #positionAfter(index) {
    let low = 0
    let high = this.#pieces.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#pieces[middle].end > index) high = middle
      else low = middle + 1
    }
    let position = this.#pieces[low].next
    for (let i = this.#pieces[low].end - 1; i > index; i -= 1) position -= utf8Length(this.#messages[i - this.#gone]) + 1
    return position
  }

  #letGo() {
    const half = this.#messages.length >> 1
    this.#gone += half
    this.#messages = this.#messages.slice(half)
    this.#bytes = this.#messages.reduce((sum, message) => sum + message.length + 1, 0)
    this.#pieces = this.#pieces.filter((piece) => piece.end > this.#gone)
    const isFollowing = this.#list.isFollowing
    if (this.#matches !== null) this.#matches = this.#matches.map((i) => i - half).filter((i) => i >= 0)
    this.#list.reset(this.#rowCount)
    if (isFollowing) this.#list.follow()
  }

  /** The message of a row, as its number in the stream. */
  #indexOf(row) {
    return this.#gone + (this.#matches === null ? row : this.#matches[row])
  }

  #stateOf(index) {
    return this.#open.get(index) ?? (this.#isOpenByDefault ? 'tree' : null)
  }

  #estimate(row) {
    const state = this.#stateOf(this.#indexOf(row))
    return state === null ? ROW : ROW + 120
  }

  #row(row) {
    const index = this.#indexOf(row)
    const text = this.#messages[index - this.#gone]
    const state = this.#stateOf(index)
    const number = format.number(index + 1)
    const toggle = () => this.#set(row, index, state === null ? 'tree' : null)
    // Counting to an offset takes a while in a long answer.
    const tellOffset = (event) => (event.currentTarget.title ||= `Offset ${offsetOf(this.positionBefore(index))}`)
    const actions = h(
      'span',
      { class: 'row-actions' },
      state !== null &&
        h('button', { class: 'mini', 'aria-pressed': String(state === 'raw'), title: 'As it is stored (r)', onclick: () => this.#set(row, index, state === 'raw' ? 'tree' : 'raw') }, 'raw'),
      h('button', { class: 'mini', title: 'Copy the message (c)', onclick: () => copy(text, `Message ${number}`) }, 'copy'),
      this.#actions.fork && h('button', { class: 'mini', title: 'Fork the stream after this message (k)', onclick: () => this.#fork(index) }, 'fork'),
    )
    return h(
      'div',
      { class: `card${state === null ? '' : ' open'}`, 'aria-label': `Message ${number}` },
      h(
        'div',
        { class: 'card-head' },
        h(
          'button',
          { class: 'card-toggle', 'aria-expanded': String(state !== null), onclick: toggle, onpointerenter: tellOffset, onfocus: tellOffset },
          h('span', { class: 'index' }, number),
          h('span', { class: 'caret' }, '▸'),
          h('span', { class: 'preview' }, ...(state === null ? highlighted(text.slice(0, PREVIEW)) : [summary(text)])),
        ),
        actions,
      ),
      state === 'tree' && h('div', { class: 'card-body tree' }, tree(parse(text))),
      state === 'raw' && h('pre', { class: 'card-body raw' }, text),
    )
  }

  #set(row, index, state) {
    if (state === (this.#isOpenByDefault ? 'tree' : null)) this.#open.delete(index)
    else this.#open.set(index, state)
    // What was opened is being read.
    this.#list.hold()
    this.#list.invalidate(row)
    // Once it is measured.
    if (state !== null) requestAnimationFrame(() => this.#list.reveal(row))
  }

  #fork(index) {
    this.#actions.fork(offsetOf(this.#positionAfter(index)))
  }

  #key(event) {
    const element = event.target.closest('.row')
    const row = Number(element?.dataset.row ?? -1)
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (row === -1) {
      // Into the list, at what is in view.
      if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
      this.#focus(event.key === 'ArrowDown' ? this.#list.firstRow : this.#list.lastRow)
      return event.preventDefault()
    }
    if (event.target.closest('.tree') && event.key.startsWith('Arrow')) return
    const index = this.#indexOf(row)
    const state = this.#stateOf(index)
    const to = { ArrowDown: row + 1, ArrowUp: row - 1 }[event.key]
    if (to !== undefined && to >= 0 && to < this.#rowCount) this.#focus(to)
    else if (event.key === 'ArrowRight') this.#set(row, index, state ?? 'tree')
    else if (event.key === 'ArrowLeft') this.#set(row, index, null)
    else if (event.key === 'r') this.#set(row, index, state === 'raw' ? 'tree' : 'raw')
    else if (event.key === 'c') copy(this.#messages[index - this.#gone], `Message ${format.number(index + 1)}`)
    else if (event.key === 'k' && this.#actions.fork) this.#fork(index)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  #focus(row) {
    this.#list.reveal(row)?.querySelector('.card-toggle').focus({ preventScroll: true })
  }
}

/** A number that JavaScript cannot hold, as it is written. */
class ExactNumber {
  constructor(source) {
    this.source = source
  }
}

function parse(text) {
  try {
    return JSON.parse(text, (_, value, context) => {
      const isInexact = typeof value === 'number' && context?.source !== undefined && String(value) !== context.source
      return isInexact ? new ExactNumber(context.source) : value
    })
  } catch {
    return text
  }
}

function summary(text) {
  const first = text[0]
  if (first !== '{' && first !== '[') return typeName(first)
  const value = parse(text)
  return Array.isArray(value) ? `array of ${format.number(value.length)}` : format.plural(Object.keys(value).length, 'field')
}

function typeName(first) {
  return first === '"' ? 'string' : first === 't' || first === 'f' ? 'boolean' : first === 'n' ? 'null' : 'number'
}

/** A value as a tree whose branches fold. */
function tree(value, key = null, depth = 0) {
  const label = key === null ? [] : [h('span', { class: 'key' }, String(key)), h('span', { class: 'punctuation' }, ': ')]
  if (value === null || typeof value !== 'object' || value instanceof ExactNumber) {
    return h('div', { class: 'leaf' }, ...label, leaf(value))
  }
  const entries = Array.isArray(value) ? value.map((item, i) => [i, item]) : Object.entries(value)
  const shape = Array.isArray(value) ? `[ ${entries.length} ]` : `{ ${entries.length} }`
  if (entries.length === 0) return h('div', { class: 'leaf' }, ...label, h('span', { class: 'punctuation' }, Array.isArray(value) ? '[ ]' : '{ }'))
  const branch = h('details', { open: depth === 0 }, h('summary', {}, ...label, h('span', { class: 'shape' }, shape)))
  // A branch that nobody opens is never made.
  const fill = () => {
    if (branch.children.length > 1) return
    const children = h('div', { class: 'children' })
    branch.append(children)
    more(children, entries, 0, depth)
  }
  if (depth === 0) fill()
  branch.addEventListener('toggle', () => branch.open && fill())
  return branch
}

function more(children, entries, from, depth) {
  children.append(...entries.slice(from, from + CHILDREN).map(([key, item]) => tree(item, key, depth + 1)))
  const rest = entries.length - from - CHILDREN
  if (rest <= 0) return
  const button = h('button', { class: 'mini', onclick: () => (button.remove(), more(children, entries, from + CHILDREN, depth)) }, `${format.number(rest)} more`)
  children.append(button)
}

function leaf(value) {
  if (value instanceof ExactNumber) return h('span', { class: 'number' }, value.source)
  if (typeof value === 'string') return h('span', { class: 'string' }, JSON.stringify(value))
  return h('span', { class: value === null ? 'null' : typeof value }, String(value))
}

const TOKENS = /("(?:\\.|[^"\\])*"?)(\s*:)?|(-?\d[\d.eE+-]*)|\b(true|false|null)\b/g

/** The beginning of a message on one line, with colours. */
function highlighted(text) {
  const line = text.replace(/\s*[\r\n]+\s*/g, ' ')
  const parts = []
  let at = 0
  for (const match of line.matchAll(TOKENS)) {
    if (match.index > at) parts.push(line.slice(at, match.index))
    const kind = match[1] ? (match[2] ? 'key' : 'string') : match[3] ? 'number' : match[4] === 'null' ? 'null' : 'boolean'
    parts.push(h('span', { class: kind }, match[0]))
    at = match.index + match[0].length
  }
  parts.push(line.slice(at))
  return parts
}
