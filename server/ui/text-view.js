// Text that grows: one document, in blocks of whole lines, so that only those in view are elements.

import { h } from './dom.js'
import { positionOf } from './offsets.js'
import { matcher, slowly } from './search.js'
import { VirtualList } from './virtual.js'

/** A block ends at the first line feed beyond this length, */
const BLOCK = 1_500
/** or here, in text without line feeds. */
const LONGEST_BLOCK = 16_000
const LINE = 21
const MOST = 384 << 20

export class TextView {
  #blocks = ['']
  #length = 0
  #next = 0
  #appends = 0
  #search = 0
  /** Lines that match, or null for the whole text. */
  #lines = null
  #matcher = null
  #unfinished = ''
  #list
  #columns = 100

  constructor(actions) {
    this.#list = new VirtualList({
      label: 'Text',
      estimate: (row) => this.#estimate(row),
      render: (row) => this.#row(row),
      onFollow: actions.onFollow,
    })
    this.#list.element.classList.add('text')
    this.element = this.#list.element
  }

  get list() {
    return this.#list
  }

  get count() {
    return this.#appends
  }

  get bytes() {
    return this.#length
  }

  get position() {
    return this.#next
  }

  get matchCount() {
    return this.#lines?.length ?? null
  }

  add(text, next) {
    this.#columns = Math.max(20, Math.floor(this.element.clientWidth / 8.4))
    this.#appends += 1
    this.#length += text.length
    this.#next = positionOf(next)
    const first = this.#blocks.length - 1
    this.#append(text)
    if (this.#length > MOST) this.#letGo()
    if (this.#lines !== null) this.#addLines(text)
    else {
      this.#list.grow(this.#blocks.length)
      this.#list.invalidate(first)
    }
    return 1
  }

  reset() {
    this.#blocks = ['']
    this.#length = 0
    this.#unfinished = ''
    if (this.#lines !== null) this.#lines = []
    this.#list.reset()
  }

  /** Shows only lines that contain the text. */
  async filter(text) {
    const search = (this.#search += 1)
    if (text === '') {
      this.#lines = null
      this.#list.reset(this.#length > 0 ? this.#blocks.length : 0)
      return
    }
    const matches = matcher(text)
    const lines = []
    let rest = ''
    let next = 0
    await slowly(() => {
      if (next < this.#blocks.length) {
        const parts = (rest + this.#blocks[next]).split('\n')
        rest = parts.pop()
        for (const line of parts) if (matches(line)) lines.push(line)
        next += 1
      }
      return search !== this.#search || next >= this.#blocks.length
    })
    if (search !== this.#search) return
    this.#matcher = matches
    this.#unfinished = rest
    this.#lines = lines
    // What is still being written counts as a line once it ends.
    this.#list.reset(lines.length)
  }

  get canUnfold() {
    return false
  }

  destroy() {
    this.#search += 1
    this.#list.destroy()
  }

  #append(text) {
    let block = this.#blocks.pop() + text
    while (block.length > BLOCK) {
      const lineEnd = block.indexOf('\n', BLOCK - 1)
      let cut = lineEnd === -1 ? -1 : lineEnd + 1
      if (cut === -1 || cut > LONGEST_BLOCK) {
        if (block.length <= LONGEST_BLOCK) break
        cut = LONGEST_BLOCK
        // Not between the halves of a character.
        const code = block.charCodeAt(cut - 1)
        if (code >= 0xd800 && code < 0xdc00) cut -= 1
      }
      this.#blocks.push(block.slice(0, cut))
      block = block.slice(cut)
    }
    this.#blocks.push(block)
  }

  #addLines(text) {
    const parts = (this.#unfinished + text).split('\n')
    this.#unfinished = parts.pop()
    for (const line of parts) if (this.#matcher(line)) this.#lines.push(line)
    this.#list.grow(this.#lines.length)
  }

  #letGo() {
    this.#blocks = this.#blocks.slice(this.#blocks.length >> 1)
    this.#length = this.#blocks.reduce((sum, block) => sum + block.length, 0)
    if (this.#lines === null) this.#list.reset(this.#blocks.length)
  }

  #estimate(row) {
    const text = this.#lines === null ? this.#blocks[row] : this.#lines[row]
    let lines = 0
    for (let at = 0; at <= text.length; ) {
      const end = text.indexOf('\n', at)
      const length = (end === -1 ? text.length : end) - at
      if (end !== -1 || length > 0) lines += Math.max(1, Math.ceil(length / this.#columns))
      if (end === -1) break
      at = end + 1
    }
    return Math.max(1, lines) * LINE
  }

  #row(row) {
    const text = this.#lines === null ? this.#blocks[row] : this.#lines[row]
    const isLast = row === this.#blocks.length - 1
    // The line feed at the end of a block is the end of the element.
    return h('pre', { class: 'block' }, !isLast && text.endsWith('\n') ? text.slice(0, -1) : text)
  }
}
