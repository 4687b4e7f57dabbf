// The page of one stream: what is known of it, its messages as they come, and where to write.

import { config, isSystem } from './api.js'
import { Chart } from './chart.js'
import { Composer } from './composer.js'
import * as dialogs from './dialogs.js'
import { h, notify } from './dom.js'
import { Facts } from './facts.js'
import * as format from './format.js'
import { HexView } from './hex-view.js'
import { JsonView } from './json-view.js'
import { BEGINNING, isOffset, offsetOf, positionOf } from './offsets.js'
import { Reader } from './reader.js'
import { TextView } from './text-view.js'

const VIEWS = { json: JsonView, text: TextView, binary: HexView }
/** Larger streams are shown from near their end at first. */
const LARGE = 64 << 20
const LAST_PART = 16 << 20
/** How often metadata is asked for. */
const FACTS = 2_500
/** A page that nobody sees lets go of its connection after this time: browsers have six for a server. */
const HIDDEN = 30_000
const FILTER_PAUSE = 150

const STATES = {
  connecting: 'Connecting',
  'catching-up': 'Catching up',
  live: 'Live',
  waiting: 'Reconnecting',
  paused: 'Paused',
  closed: 'Closed',
  gone: 'Gone',
  refused: 'No access',
  failed: 'Failed',
}

export class StreamPage {
  #path
  #streams
  #presence
  #facts
  #reader = null
  #view = null
  #composer = null
  #chart = null
  #tail = 0
  #unseen = 0
  #timers = []
  #listeners = new AbortController()
  #wasPausedForHiding = false
  #state = h('span', { class: 'state', role: 'status' })
  #notice = h('div', { class: 'strip', hidden: true })
  #body = h('div', { class: 'messages' })
  #foot = h('div', { class: 'foot' })
  #typing = h('div', { class: 'typing', role: 'status' })
  #viewers = h('span', { class: 'viewers' })
  #newer = h('button', { class: 'newer', hidden: true, onclick: () => this.#view.list.follow() })
  #filter = h('input', { type: 'search', class: 'input small', placeholder: 'Filter  ( f )', 'aria-label': 'Filter messages', spellcheck: 'false' })
  #matches = h('span', { class: 'muted', role: 'status' })
  #jump = h('input', { class: 'input small mono jump', placeholder: 'Offset  ( g )', 'aria-label': 'Go to an offset, a message number, beginning or now', spellcheck: 'false', autocomplete: 'off' })
  #pause = h('button', { class: 'button small', title: 'Pause or go on (p)', onclick: () => this.togglePause() }, 'Pause')
  #unfold = h('button', { class: 'button small', title: 'Unfold or fold all (x)', onclick: () => this.unfold() }, 'Unfold all')
  #end = h('button', { class: 'button small', title: 'To the end, and stay there (e)', onclick: () => this.end() }, '↓ End')
  #close = h('button', { class: 'button small', onclick: () => this.#closeStream() }, 'Close')
  #fork = h('button', { class: 'button small', onclick: () => this.#forkAt('') }, 'Fork')

  /** @param from an offset, or null for what is best */
  constructor(path, from, streams, presence) {
    this.#path = path
    this.#streams = streams
    this.#presence = presence
    this.#facts = new Facts(path, streams)
    const canChange = !config.readOnly
    this.element = h(
      'section',
      { class: 'stream-page', 'aria-label': `Stream ${path}` },
      h(
        'div',
        { class: 'page-head' },
        h('h1', { class: 'mono', title: path }, path),
        this.#state,
        this.#viewers,
        h(
          'div',
          { class: 'page-actions' },
          h('button', { class: 'button small', onclick: () => this.#code() }, 'Code'),
          canChange && this.#fork,
          canChange && !isSystem(path) && this.#close,
          canChange && path !== '__registry__' && h('button', { class: 'button small danger-text', onclick: () => this.remove() }, 'Delete'),
        ),
      ),
      this.#facts.element,
      h('div', { class: 'tools' }, this.#filter, this.#matches, h('span', { class: 'grow' }), this.#jump, this.#unfold, this.#pause, this.#end),
      this.#notice,
      h('div', { class: 'messages-frame' }, this.#body, this.#newer),
      this.#typing,
      this.#foot,
    )
    this.#close.hidden = true
    this.#end.setAttribute('aria-pressed', 'true')
    this.#wire()
    this.#open(from)
  }

  destroy() {
    this.#listeners.abort()
    this.#timers.forEach(clearInterval)
    this.#reader?.stop()
    this.#view?.destroy()
    this.#chart?.destroy()
    this.#composer?.destroy()
  }

  togglePause() {
    if (!this.#reader) return
    if (this.#reader.isPaused) this.#reader.resume()
    else this.#reader.pause()
    this.#pause.textContent = this.#reader.isPaused ? 'Go on' : 'Pause'
  }

  unfold() {
    if (!this.#view?.canUnfold) return
    this.#view.unfoldAll(!this.#view.isUnfolded)
    this.#unfold.textContent = this.#view.isUnfolded ? 'Fold all' : 'Unfold all'
  }

  end() {
    this.#view?.list.follow()
  }

  focusFilter() {
    this.#filter.focus()
    this.#filter.select()
  }

  focusJump() {
    this.#jump.focus()
    this.#jump.select()
  }

  focusComposer() {
    this.#composer?.focus()
  }

  async remove() {
    if (!(await dialogs.remove(this.#path))) return
    notify(`${this.#path} is deleted`)
    await this.#streams.look()
    location.hash = '#/'
  }

  #wire() {
    const { signal } = this.#listeners
    let timer
    this.#filter.addEventListener('input', () => {
      clearTimeout(timer)
      timer = setTimeout(() => this.#applyFilter(), FILTER_PAUSE)
    })
    this.#filter.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return
      this.#filter.value = ''
      this.#applyFilter()
      this.#view?.element.focus()
    })
    this.#jump.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.#goTo(this.#jump.value.trim())
    })
    this.#presence.addEventListener('change', () => this.#showPeople(), { signal })
    let hiding
    document.addEventListener(
      'visibilitychange',
      () => {
        clearTimeout(hiding)
        if (document.hidden) {
          hiding = setTimeout(() => {
            if (!this.#reader || this.#reader.isPaused) return
            this.#wasPausedForHiding = true
            this.#reader.pause()
          }, HIDDEN)
        } else if (this.#wasPausedForHiding) {
          this.#wasPausedForHiding = false
          this.#reader.resume()
        }
      },
      { signal },
    )
  }

  async #open(from) {
    this.#showState('connecting')
    try {
      await this.#loadFacts()
    } catch (error) {
      if (error.status === 0 || error.isTransient) {
        this.#showState('waiting', 1000)
        this.#timers.push(setTimeout(() => this.#open(from), 1000))
        return
      }
      this.#showMissing(error)
      return
    }
    if (this.#listeners.signal.aborted) return
    const { kind } = this.#facts
    this.element.classList.add(kind)
    this.#view = new VIEWS[kind]({
      onFollow: (on) => this.#followChanged(on),
      fork: config.readOnly ? null : (offset) => this.#forkAt(offset),
    })
    this.#unfold.hidden = !this.#view.canUnfold
    this.#filter.hidden = kind === 'binary'
    this.#body.append(this.#view.element)
    this.#chart = new Chart(kind === 'json' ? 'messages' : 'B', () => this.#lag())
    this.element.querySelector('.tools').prepend(this.#chart.element)
    this.#showComposer()
    this.#read(from ?? this.#start())
    this.#timers.push(setInterval(() => this.#refresh(), FACTS))
  }

  /** Where a page begins that was not told. */
  #start() {
    if (this.#tail <= LARGE) return BEGINNING
    const load = h('button', { class: 'mini', onclick: () => this.#read(BEGINNING) }, 'Load all of it')
    this.#showNotice(`This shows the last ${format.bytes(LAST_PART)} of ${format.bytes(this.#tail)}. `, load)
    return offsetOf(this.#tail - LAST_PART)
  }

  #read(from) {
    if (from === BEGINNING) this.#notice.hidden = true
    this.#reader?.stop()
    this.#view.reset()
    this.#view.list.follow()
    this.#unseen = 0
    this.#pause.textContent = 'Pause'
    const reader = new Reader(this.#path, this.#facts.kind, from, {
      data: (payload, next) => {
        if (reader !== this.#reader) return
        const count = this.#view.add(payload, next)
        this.#tail = Math.max(this.#tail, positionOf(next))
        this.#chart.add(this.#facts.kind === 'json' ? count : payload.length)
        this.#arrived(count)
      },
      state: (state, detail) => reader === this.#reader && this.#stateChanged(state, detail),
      reset: () => {
        this.#view.reset()
        this.#tail = 0
        this.#showNotice('The stream was deleted and created anew. This is the new one.')
      },
    })
    this.#reader = reader
    reader.start()
  }

  #arrived(count) {
    if (this.#filter.value && this.#view.matchCount !== null) this.#showMatches()
    if (this.#view.list.isFollowing) return
    this.#unseen += count
    this.#newer.textContent = this.#facts.kind === 'json' ? `↓ ${format.number(this.#unseen)} new` : '↓ more'
    this.#newer.hidden = false
  }

  #followChanged(on) {
    this.#end.setAttribute('aria-pressed', String(on))
    if (!on) return
    this.#unseen = 0
    this.#newer.hidden = true
  }

  #stateChanged(state, detail) {
    this.#showState(state, detail)
    const isOver = this.#reader.isOver
    this.#pause.disabled = isOver
    if (state === 'live' || state === 'closed') this.#body.dataset.empty = this.#view.bytes === 0 ? (state === 'closed' ? 'The stream is closed and empty.' : 'Listening for new messages…') : ''
    if (state === 'closed') {
      this.#facts.closed = true
      this.#showComposer()
      this.#loadFacts().catch(() => {})
    }
    if (state === 'gone') {
      this.#showNotice('The stream was deleted or has expired. What was read of it is still here.')
      this.#composer?.element.remove()
      this.#composer = null
    }
    if (state === 'refused' || state === 'failed') this.#showNotice(`It cannot be read: ${detail}. `, h('button', { class: 'mini', onclick: () => this.#read(this.#reader.offset) }, 'Try again'))
  }

  #showState(state, detail) {
    this.#state.className = `state ${state}`
    let text = STATES[state]
    if (state === 'waiting') text = `Reconnecting in ${Math.max(1, Math.round(detail / 1000))} s`
    if (state === 'live' && detail === 'long-poll' && this.#facts.kind !== 'binary') text = 'Live (long-poll)'
    this.#state.textContent = text
    this.#state.title = state === 'live' ? `Follows by ${detail === 'sse' ? 'server-sent events' : 'long-polls'}` : ''
    this.element.dataset.state = state
  }

  #showMissing(error) {
    this.#showState(error.status === 404 || error.status === 410 ? 'gone' : 'refused')
    const canCreate = error.status === 404 && !config.readOnly
    this.#body.replaceChildren(
      h(
        'div',
        { class: 'center' },
        h('p', {}, error.status === 404 ? 'There is no stream of this name.' : `It cannot be read: ${error.message}.`),
        canCreate && h('button', { class: 'button primary', onclick: () => window.dispatchEvent(new CustomEvent('create-stream')) }, 'New stream'),
      ),
    )
    for (const tool of this.element.querySelectorAll('.tools, .fact-panel, .page-actions')) tool.hidden = true
  }

  #showNotice(...content) {
    this.#notice.replaceChildren(...content)
    this.#notice.hidden = false
  }

  async #loadFacts() {
    await this.#facts.load()
    this.#tail = Math.max(positionOf(this.#facts.offset), this.#reader ? positionOf(this.#reader.offset) : 0)
    this.#close.hidden = this.#facts.closed
  }

  async #refresh() {
    if (document.hidden || this.#reader.state === 'gone') return
    await this.#loadFacts().catch(() => {})
  }

  #lag() {
    return Math.max(0, this.#tail - Math.max(0, positionOf(this.#reader.offset)))
  }

  // What the user does.

  async #applyFilter() {
    await this.#view?.filter(this.#filter.value)
    this.#showMatches()
    if (this.#filter.value === '') this.#view?.list.follow()
  }

  #showMatches() {
    const { matchCount } = this.#view
    this.#matches.textContent = matchCount === null ? '' : format.plural(matchCount, this.#facts.kind === 'json' ? 'message' : 'line')
  }

  #goTo(text) {
    if (!this.#view) return
    const number = /^#?(\d+)$/.exec(text)
    if (number && this.#facts.kind === 'json') {
      const row = this.#view.rowOf(Number(number[1]) - 1)
      if (row === null) return notify(`There is no message ${number[1]} here`, 'error')
      this.#view.list.scrollTo(row, 'center')
      return this.#view.list.rowElement(row)?.querySelector('button').focus({ preventScroll: true })
    }
    const offset = { beginning: BEGINNING, now: 'now', '': null }[text.toLowerCase()] ?? text
    if (offset !== 'now' && !isOffset(offset)) return notify('That is neither an offset nor the number of a message', 'error')
    const from = offset === 'now' ? this.#facts.offset : offset
    this.#notice.hidden = true
    if (from !== BEGINNING) this.#showNotice(`This begins at offset ${from}. `, h('button', { class: 'mini', onclick: () => this.#read(BEGINNING) }, 'From the beginning'))
    this.#read(from)
    if (offset !== 'now') this.#view.list.scrollTo(0)
    history.replaceState(null, '', `#/s/${encodeURIComponent(this.#path)}${from === BEGINNING ? '' : `?offset=${from}`}`)
  }

  async #forkAt(offset) {
    const path = await dialogs.fork(this.#path, offset || this.#facts.offset)
    if (!path) return
    await this.#streams.look()
    location.hash = `#/s/${encodeURIComponent(path)}`
  }

  async #closeStream() {
    if (!(await dialogs.close(this.#path))) return
    await this.#loadFacts().catch(() => {})
    this.#showComposer()
  }

  #code() {
    const { contentType, kind } = this.#facts
    dialogs.code({ path: this.#path, contentType, kind, offset: BEGINNING })
  }

  #showComposer() {
    const canWrite = !config.readOnly && !isSystem(this.#path) && !this.#facts.closed
    if (canWrite === (this.#composer !== null)) return
    if (!canWrite) {
      this.#composer.destroy()
      this.#composer.element.remove()
      this.#composer = null
      return
    }
    this.#composer = new Composer({
      path: this.#path,
      contentType: this.#facts.contentType,
      kind: this.#facts.kind,
      presence: this.#presence,
      onClosed: () => {
        this.#facts.closed = true
        this.#showComposer()
        this.#loadFacts().catch(() => {})
      },
    })
    this.#foot.append(this.#composer.element)
  }

  #showPeople() {
    const viewers = this.#presence.viewersOf(this.#path)
    const key = JSON.stringify(viewers)
    if (this.#viewers.dataset.key === key) return
    this.#viewers.dataset.key = key
    this.#viewers.replaceChildren(...viewers.slice(0, 12).map((viewer) => h('span', { class: `dot c${viewer.color}`, title: `User ${viewer.id}` })))
    if (viewers.length > 0) this.#viewers.append(h('span', { class: 'muted' }, format.plural(viewers.length, 'other viewer')))
    const typing = viewers.filter((viewer) => viewer.isTyping).map((viewer) => viewer.id)
    this.#typing.textContent = typing.length > 0 ? `${typing.join(', ')} typing…` : ''
  }
}
