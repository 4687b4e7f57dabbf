// Bytes in hexadecimal, with what of them is ASCII beside it.

import { h } from './dom.js'
import { offsetOf, positionOf } from './offsets.js'
import { VirtualList } from './virtual.js'

const ROW = 22
const MOST = 512 << 20

export class HexView {
  #data = new Uint8Array(4096)
  #length = 0
  /** The position of the first byte shown. */
  #start = 0
  #answers = 0
  #width = window.matchMedia('(max-width: 700px)').matches ? 8 : 16
  #list

  constructor(actions) {
    this.#list = new VirtualList({ label: 'Bytes', estimate: () => ROW, render: (row) => this.#row(row), onFollow: actions.onFollow })
    this.#list.element.classList.add('hex')
    this.element = this.#list.element
  }

  get list() {
    return this.#list
  }

  get count() {
    return this.#answers
  }

  get bytes() {
    return this.#length
  }

  get matchCount() {
    return null
  }

  add(bytes, next) {
    if (this.#length + bytes.length > MOST) {
      this.#length = 0
      this.#list.reset()
    }
    if (this.#length === 0) this.#start = positionOf(next) - bytes.length
    if (this.#length + bytes.length > this.#data.length) {
      const larger = new Uint8Array(Math.max(this.#data.length * 2, this.#length + bytes.length))
      larger.set(this.#data.subarray(0, this.#length))
      this.#data = larger
    }
    const last = Math.max(0, this.#list.count - 1)
    this.#data.set(bytes, this.#length)
    this.#length += bytes.length
    this.#answers += 1
    this.#list.grow(Math.ceil(this.#length / this.#width))
    this.#list.invalidate(last)
    return 1
  }

  reset() {
    this.#length = 0
    this.#list.reset()
  }

  async filter() {}

  get canUnfold() {
    return false
  }

  destroy() {
    this.#list.destroy()
  }

  #row(row) {
    const from = row * this.#width
    const bytes = this.#data.subarray(from, Math.min(this.#length, from + this.#width))
    const half = this.#width / 2
    const hex = Array.from(bytes, (byte, i) => (i === half ? ' ' : '') + byte.toString(16).padStart(2, '0')).join(' ')
    const ascii = Array.from(bytes, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '·')).join('')
    const position = this.#start + from
    return h(
      'div',
      { class: 'hex-row', title: `Offset ${offsetOf(position)}` },
      h('span', { class: 'address' }, position.toString(16).padStart(8, '0')),
      h('span', { class: 'octets' }, hex.padEnd(this.#width * 3)),
      h('span', { class: 'ascii' }, ascii),
    )
  }
}
