// A list that makes elements only for the rows that are in view, so that a million rows cost what a screenful does. Rows have
// heights of their own: estimated at first, measured once they are shown. What the reader looks at stays where it is while
// heights above it turn out different.

import { h } from './dom.js'

/** Browsers cannot make elements much higher than 16 million pixels. Longer lists are scrolled through a scale. */
const TALLEST = 8_000_000
const OVERSCAN = 400

/** Sums of heights, by a Fenwick tree: every operation is logarithmic. */
export class Heights {
  #tree = new Float64Array(1024)
  #own = new Float32Array(1024)
  count = 0
  total = 0

  push(height) {
    const i = this.count + 1
    if (i >= this.#tree.length) {
      this.#tree = grown(this.#tree)
      this.#own = grown(this.#own)
    }
    let sum = height
    for (let j = i - 1; j > i - (i & -i); j -= j & -j) sum += this.#tree[j]
    this.#tree[i] = sum
    this.#own[i] = height
    this.count = i
    this.total += height
  }

  of(row) {
    return this.#own[row + 1]
  }

  set(row, height) {
    const change = height - this.#own[row + 1]
    this.#own[row + 1] = height
    this.total += change
    for (let i = row + 1; i <= this.count; i += i & -i) this.#tree[i] += change
  }

  /** The sum of the heights of all rows before one. */
  before(row) {
    let sum = 0
    for (let i = row; i > 0; i -= i & -i) sum += this.#tree[i]
    return sum
  }

  /** The row at a distance from the top; the last one beyond the end. */
  at(distance) {
    let row = 0
    let rest = distance
    for (let step = 2 ** Math.floor(Math.log2(Math.max(1, this.count))); step >= 1; step /= 2) {
      const next = row + step
      if (next <= this.count && this.#tree[next] <= rest) {
        row = next
        rest -= this.#tree[next]
      }
    }
    return Math.min(row, Math.max(0, this.count - 1))
  }
}

function grown(array) {
  const larger = new array.constructor(array.length * 2)
  larger.set(array)
  return larger
}

export class VirtualList {
  #estimate
  #render
  #onFollow
  #heights = new Heights()
  #rows = new Map()
  #spacer = h('div', { class: 'spacer' })
  /** The scroll position that the page last set or took in. */
  #physical = 0
  /** The same in the list's own pixels. */
  #top = 0
  #frame = 0
  #observer

  /**
   * @param estimate the likely height of a row
   * @param render makes the element of a row
   * @param onFollow told whether the list sticks to its end, when that changes
   */
  constructor({ label, estimate, render, onFollow = () => {} }) {
    this.#estimate = estimate
    this.#render = render
    this.#onFollow = onFollow
    this.isFollowing = true
    this.element = h('div', { class: 'viewport', tabindex: '0', role: 'feed', 'aria-label': label, 'aria-busy': 'false' }, this.#spacer)
    this.element.addEventListener('scroll', () => this.#scrolled(), { passive: true })
    this.#observer = new ResizeObserver(() => this.refresh())
    this.#observer.observe(this.element)
  }

  get count() {
    return this.#heights.count
  }

  /** There are more rows at the end. */
  grow(count) {
    for (let row = this.#heights.count; row < count; row += 1) this.#heights.push(this.#estimate(row))
    this.refresh()
  }

  /** All rows are others. */
  reset(count = 0) {
    this.#heights = new Heights()
    for (const element of this.#rows.values()) this.#discard(element)
    this.#rows.clear()
    this.#top = 0
    this.grow(count)
  }

  /** The content of a row is another; it keeps its place. */
  invalidate(row) {
    const element = this.#rows.get(row)
    if (!element) return
    const replacement = this.#element(row)
    const hadFocus = element.contains(document.activeElement)
    element.replaceWith(replacement)
    this.#observer.unobserve(element)
    this.#rows.set(row, replacement)
    if (hadFocus) (replacement.querySelector('a, button') ?? replacement).focus({ preventScroll: true })
    this.refresh()
  }

  invalidateAll() {
    for (const row of [...this.#rows.keys()]) this.invalidate(row)
  }

  rowElement(row) {
    return this.#rows.get(row)
  }

  refresh() {
    this.#frame ||= requestAnimationFrame(() => this.#paint())
  }

  scrollTo(row, align = 'start') {
    this.#follow(false)
    const start = this.#heights.before(row)
    const space = align === 'start' ? 0 : Math.max(0, (this.element.clientHeight - this.#heights.of(row)) / 2)
    this.#top = start - space
    this.#paint()
  }

  /** Brings a row into view with as little movement as possible, and gives its element. */
  reveal(row) {
    const start = this.#heights.before(row)
    const end = start + this.#heights.of(row)
    if (start < this.#top) this.#top = start
    else if (end > this.#top + this.element.clientHeight) this.#top = Math.min(start, end - this.element.clientHeight)
    if (row < this.count - 1) this.#follow(false)
    this.#paint()
    return this.#rows.get(row)
  }

  /** Stays where it is, whatever comes. */
  hold() {
    this.#follow(false)
  }

  follow() {
    this.#follow(true)
    this.#paint()
  }

  /** The first row in view. */
  get firstRow() {
    return this.#heights.at(this.#top)
  }

  get lastRow() {
    return this.#heights.at(this.#top + this.element.clientHeight)
  }

  destroy() {
    cancelAnimationFrame(this.#frame)
    this.#observer.disconnect()
  }

  #follow(on) {
    if (this.isFollowing === on) return
    this.isFollowing = on
    this.#onFollow(on)
  }

  get #mostTop() {
    return Math.max(0, this.#heights.total - this.element.clientHeight)
  }

  get #mostPhysical() {
    return Math.max(0, Math.min(this.#heights.total, TALLEST) - this.element.clientHeight)
  }

  #scrolled() {
    const physical = this.element.scrollTop
    if (Math.abs(physical - this.#physical) < 1) return
    const by = physical - this.#physical
    this.#physical = physical
    if (this.#heights.total <= TALLEST) this.#top = physical
    // A wheel or a key moves by pixels, the bar by parts of the whole.
    else if (physical > 0 && physical < this.#mostPhysical - 1 && Math.abs(by) < 3 * this.element.clientHeight) this.#top += by
    else this.#top = (physical / Math.max(1, this.#mostPhysical)) * this.#mostTop
    this.#follow(this.#top >= this.#mostTop - 4)
    // Scrolled content must be there in this frame.
    this.#paint()
  }

  #paint() {
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    if (!this.element.isConnected) return
    // What is shown may turn out to be of another height, which shows other rows.
    for (let round = 0; round < 4; round += 1) {
      this.#top = this.isFollowing ? this.#mostTop : Math.min(Math.max(0, this.#top), this.#mostTop)
      const anchor = this.#heights.at(this.#top)
      const into = this.#top - this.#heights.before(anchor)
      if (!this.#show()) break
      if (!this.isFollowing) this.#top = this.#heights.before(anchor) + into
    }
    this.#place()
  }

  /** Makes the rows in view; whether one of them has another height than was thought. */
  #show() {
    const first = this.#heights.at(Math.max(0, this.#top - OVERSCAN))
    const end = this.#top + this.element.clientHeight + OVERSCAN
    const wanted = new Set()
    for (let row = first, at = this.#heights.before(first); row < this.count && at < end; row += 1) {
      wanted.add(row)
      at += this.#heights.of(row)
    }
    for (const [row, element] of this.#rows) {
      if (wanted.has(row)) continue
      this.#rows.delete(row)
      this.#discard(element)
    }
    for (const row of wanted) {
      if (this.#rows.has(row)) continue
      const element = this.#element(row)
      this.#rows.set(row, element)
      this.#insert(row, element)
    }
    let isOther = false
    for (const [row, element] of this.#rows) {
      const height = element.offsetHeight
      if (Math.abs(height - this.#heights.of(row)) < 0.5) continue
      this.#heights.set(row, height)
      isOther = true
    }
    return isOther
  }

  /** In the document rows are in their order, for the keyboard and for screen readers. */
  #insert(row, element) {
    let next = null
    for (const other of this.#spacer.children) {
      if (Number(other.dataset.row) > row) {
        next = other
        break
      }
    }
    this.#spacer.insertBefore(element, next)
  }

  #element(row) {
    const element = this.#render(row)
    element.classList.add('row')
    element.dataset.row = row
    element.setAttribute('role', 'article')
    element.setAttribute('aria-posinset', row + 1)
    element.setAttribute('aria-setsize', this.count)
    if (!element.hasAttribute('tabindex')) element.tabIndex = -1
    this.#observer.observe(element)
    return element
  }

  #discard(element) {
    this.#observer.unobserve(element)
    if (element.contains(document.activeElement)) this.element.focus({ preventScroll: true })
    element.remove()
  }

  #place() {
    const total = this.#heights.total
    this.#spacer.style.height = `${Math.min(total, TALLEST)}px`
    if (total <= TALLEST) this.#physical = this.#top
    else if (this.#top >= this.#mostTop - 1) this.#physical = this.#mostPhysical
    else if (this.#top <= 0) this.#physical = 0
    else if (Math.abs(this.#physical - (this.#top / this.#mostTop) * this.#mostPhysical) > this.#mostPhysical / 4) {
      this.#physical = (this.#top / this.#mostTop) * this.#mostPhysical
    }
    if (Math.abs(this.element.scrollTop - this.#physical) >= 1) this.element.scrollTop = this.#physical
    this.#physical = this.element.scrollTop
    const shift = this.#physical - this.#top
    for (const [row, element] of this.#rows) {
      element.style.transform = `translateY(${this.#heights.before(row) + shift}px)`
    }
  }
}
