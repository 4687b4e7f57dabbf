// Follows a stream: what is there by plain reads, what comes by server-sent events, or by long-polls where those do not
// get through. The offset moves only with data that was handed over, so a connection may break anywhere and nothing is
// lost and nothing comes twice.

import { onStream } from './api.js'
import { BEGINNING } from './offsets.js'
import { SseDecoder } from './sse.js'

/** An SSE connection says something at once (S-SSE-11); one that does not is held up on its way. */
const FIRST_EVENT = 5_000
/** Between events an SSE connection has keep-alives (S-SSE-13). */
const SILENCE = 90_000
/** So many connections that break before an event came, and long-polls are used. */
const BAD_CONNECTIONS = 3
const LONGEST_PAUSE = 10_000
/** An SSE connection that a server or a proxy ends sooner is not opened again at once. */
const SHORT = 250
const AFTER_SHORT = 100

/**
 * States: `connecting`, `catching-up`, `live` (detail: `sse` or `long-poll`), `waiting` (detail: milliseconds to the next
 * try), `paused`, `closed`, `gone`, `refused`, `failed` (detail: why).
 */
export class Reader {
  #path
  #kind
  #on
  #abort = new AbortController()
  #request = null
  #resume = null
  #incarnation = null
  #cursor = null
  #isUpToDate = false
  #isClosed = false
  #usesSse
  #badConnections = 0

  /**
   * @param path the stream's
   * @param kind `json`, `text` or `binary`
   * @param on `data(payload, next)`: text or bytes of whole messages, and the offset after them; `state(name, detail)`;
   *   `reset()`: the stream was deleted and is there anew, from the beginning
   */
  constructor(path, kind, from, on) {
    this.#path = path
    this.#kind = kind
    this.#on = on
    // As server-sent events, bytes would be a third larger and need decoding.
    this.#usesSse = kind !== 'binary'
    this.offset = from
    this.state = 'connecting'
  }

  start() {
    this.#run().catch((error) => {
      if (!this.#abort.signal.aborted) this.#say('failed', error.message)
    })
  }

  stop() {
    this.#abort.abort()
    this.#request?.abort()
    this.#resume?.()
  }

  pause() {
    if (this.#resume || this.isOver) return
    this.#resume = () => {}
    this.#request?.abort()
    this.#say('paused')
  }

  resume() {
    const resume = this.#resume
    this.#resume = null
    resume?.()
  }

  get isPaused() {
    return this.#resume !== null
  }

  get isOver() {
    return ['closed', 'gone', 'refused', 'failed'].includes(this.state)
  }

  async #run() {
    let failures = 0
    while (!this.#abort.signal.aborted) {
      if (this.isPaused) {
        await new Promise((resolve) => (this.#resume = resolve))
        this.#isUpToDate = false
        continue
      }
      // What is left of the one before, such as an answer that nobody reads to its end.
      this.#request?.abort()
      this.#request = new AbortController()
      try {
        if (!this.#isUpToDate) await this.#catchUp()
        else if (this.#isClosed) return this.#say('closed')
        else if (this.#usesSse) await this.#followEvents()
        else await this.#longPoll()
        failures = 0
      } catch (error) {
        if (this.#abort.signal.aborted) return
        if (this.isPaused) continue
        if (error.status === 404 || error.status === 410) return this.#say('gone', error.message)
        if (error.status === 401 || error.status === 403) return this.#say('refused', error.message)
        if (error.status && !error.isTransient) return this.#say('failed', error.message)
        failures += 1
        await this.#backOff(failures, error)
      }
    }
  }

  async #backOff(failures, error) {
    const most = Math.min(LONGEST_PAUSE, 250 * 2 ** Math.min(failures, 8))
    const pause = Math.max(error.retryAfterMillis ?? 0, most / 2 + (Math.random() * most) / 2)
    this.#say('waiting', pause)
    await this.#sleep(pause)
  }

  /** Until the time is over, or the reader is paused or stopped. */
  #sleep(millis) {
    const signal = this.#request.signal
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, millis)
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve()))
    })
  }

  async #catchUp() {
    this.#say(this.offset === BEGINNING ? 'connecting' : 'catching-up')
    const answer = await this.#get({ offset: this.offset })
    this.#say('catching-up')
    await this.#take(answer)
  }

  async #longPoll() {
    this.#say('live', 'long-poll')
    const query = { offset: this.offset, live: 'long-poll' }
    if (this.#cursor) query.cursor = this.#cursor
    const answer = await this.#get(query)
    await this.#take(answer)
  }

  async #get(query) {
    const answer = await onStream('GET', this.#path, { query, signal: this.#request.signal })
    this.#checkIncarnation(answer)
    return answer
  }

  /** Hands over an answer with data, or with none. */
  async #take(answer) {
    const next = answer.headers.get('stream-next-offset')
    if (!next) throw new Error('an answer without offset')
    if (answer.status !== 204) {
      const payload = this.#kind === 'binary' ? new Uint8Array(await answer.arrayBuffer()) : await answer.text()
      if (next !== this.offset && payload.length > 0) this.#on.data(payload, next)
    }
    this.offset = next
    this.#cursor = answer.headers.get('stream-cursor')
    this.#isUpToDate = answer.headers.has('stream-up-to-date') || answer.headers.has('stream-closed')
    this.#isClosed = answer.headers.get('stream-closed') === 'true'
  }

  async #followEvents() {
    const query = { offset: this.offset, live: 'sse' }
    if (this.#cursor) query.cursor = this.#cursor
    const request = this.#request
    const opened = performance.now()
    let events = 0
    let timer = setTimeout(() => request.abort(), FIRST_EVENT)
    try {
      const answer = await this.#get(query)
      const decoder = new SseDecoder()
      const body = answer.body.pipeThrough(new TextDecoderStream('utf-8', { ignoreBOM: true })).getReader()
      let held = []
      for (;;) {
        const { done, value } = await body.read()
        if (done) break
        for (const { event, data } of decoder.feed(value)) {
          events += 1
          if (event === 'data') held.push(data)
          if (event !== 'control') continue
          // Only the control event says up to where the data before it reaches.
          const control = JSON.parse(data)
          const pieces = held
          held = []
          this.#say('live', 'sse')
          this.#hand(pieces, control)
          if (this.#isClosed) return
        }
        clearTimeout(timer)
        timer = setTimeout(() => request.abort(), SILENCE)
      }
      if (events > 0) this.#badConnections = 0
    } catch (error) {
      // Ours: it was silent. The next connection goes on from the same offset.
      if (!request.signal.aborted || this.isPaused || this.#abort.signal.aborted) throw error
    } finally {
      clearTimeout(timer)
    }
    if (events === 0) {
      this.#badConnections += 1
      if (this.#badConnections >= BAD_CONNECTIONS) this.#usesSse = false
    }
    // A stream that is gone ends the connection too; the next answer says so.
    if (performance.now() - opened < SHORT) await this.#sleep(AFTER_SHORT)
  }

  #hand(pieces, control) {
    if (control.streamNextOffset !== this.offset) {
      if (pieces.length > 0) this.#on.data(this.#kind === 'json' ? joined(pieces) : pieces.join(''), control.streamNextOffset)
    }
    this.offset = control.streamNextOffset
    this.#cursor = control.streamCursor ?? null
    this.#isClosed = control.streamClosed === true
  }

  #checkIncarnation(answer) {
    const incarnation = answer.headers.get('stream-incarnation')
    const known = this.#incarnation
    this.#incarnation = incarnation
    if (!known || !incarnation || known === incarnation) return
    this.offset = BEGINNING
    this.#cursor = null
    this.#isUpToDate = false
    this.#on.reset()
    throw new Error('the stream is another one')
  }

  #say(state, detail) {
    if (this.state === state && this.detail === detail) return
    this.state = state
    this.detail = detail
    this.#on.state(state, detail)
  }
}

/** JSON arrays as one. */
function joined(arrays) {
  if (arrays.length === 1) return arrays[0]
  return `[${arrays.map((text) => text.slice(text.indexOf('[') + 1, text.lastIndexOf(']'))).join(',')}]`
}
