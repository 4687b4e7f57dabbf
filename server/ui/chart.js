// What happened in the last minute: how much came each second, and how far behind the page was.

import { h, svg } from './dom.js'
import * as format from './format.js'

const SECONDS = 60
const HEIGHT = 26

export class Chart {
  #counts = new Array(SECONDS).fill(0)
  #lags = new Array(SECONDS).fill(0)
  #current = 0
  #bars = svg('path', { class: 'rate' })
  #line = svg('path', { class: 'lag' })
  #text = h('span', { class: 'chart-text' })
  #timer
  #lag

  /** @param lag gives how many bytes are not read yet */
  constructor(unit, lag) {
    this.unit = unit
    this.#lag = lag
    this.element = h(
      'div',
      { class: 'chart', role: 'img', 'aria-label': 'Rate and lag of the last minute' },
      svg('svg', { viewBox: `0 0 ${SECONDS * 2} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, this.#bars, this.#line),
      this.#text,
    )
    this.#timer = setInterval(() => this.#tick(), 1000)
    this.#draw()
  }

  add(count) {
    this.#current += count
  }

  destroy() {
    clearInterval(this.#timer)
  }

  #tick() {
    this.#counts.push(this.#current)
    this.#lags.push(this.#lag())
    this.#counts.shift()
    this.#lags.shift()
    this.#current = 0
    this.#draw()
  }

  #draw() {
    const most = Math.max(1, ...this.#counts)
    const bars = this.#counts.map((count, i) => (count > 0 ? `M${i * 2} ${HEIGHT}V${HEIGHT - Math.max(1.5, (count / most) * (HEIGHT - 2))}h1.4V${HEIGHT}z` : ''))
    this.#bars.setAttribute('d', bars.join(''))
    const worst = Math.max(...this.#lags)
    const points = this.#lags.map((lag, i) => `${i * 2 + 0.7} ${HEIGHT - 1 - (lag / Math.max(1, worst)) * (HEIGHT - 3)}`)
    this.#line.setAttribute('d', worst > 0 ? `M${points.join('L')}` : '')
    const rate = this.#counts.slice(-3).reduce((sum, count) => sum + count, 0) / 3
    const lag = this.#lags.at(-1)
    const shown = rate >= 10 ? format.number(Math.round(rate)) : rate.toFixed(1)
    this.#text.textContent = `${shown} ${this.unit}/s · ${lag > 0 ? `${format.bytes(lag)} behind` : 'up to date'}`
    this.element.setAttribute('aria-label', `${this.#text.textContent}. Rate and lag of the last minute`)
  }
}
