// Writes to a stream, each message once: a request whose answer got lost is sent again under the same number, and the
// server knows it (S-PROD).

import { ApiError, onStream } from './api.js'

const LONGEST_PAUSE = 5_000

/** A message that was given up before it was known what became of it. */
export class Abandoned extends Error {}

export class Producer {
  #path
  #contentType
  #id = newId()
  #seq = 0
  #last = Promise.resolve()
  #abandon = null

  /** @param onTrouble told what is wrong while a message is tried again, and nothing when it is over */
  constructor(path, contentType, onTrouble) {
    this.#path = path
    this.#contentType = contentType
    this.onTrouble = onTrouble
  }

  /** Sends a message after all before it; `body` may be null to close only. Gives the offset after it. */
  send(body, close = false) {
    const sent = this.#last.then(() => this.#deliver(body, close))
    this.#last = sent.catch(() => {})
    return sent
  }

  /** Stops trying. Whether the message is in the stream is not known then. */
  abandon() {
    this.#abandon?.abort()
  }

  async #deliver(body, close) {
    const headers = { 'producer-id': this.#id, 'producer-epoch': '0', 'producer-seq': String(this.#seq) }
    if (body !== null) headers['content-type'] = this.#contentType
    if (close) headers['stream-closed'] = 'true'
    this.#abandon = new AbortController()
    const signal = this.#abandon.signal
    for (let failures = 0; ; failures += 1) {
      try {
        const answer = await onStream('POST', this.#path, { headers, body: body ?? undefined, signal })
        this.#seq += 1
        this.onTrouble(null)
        return answer.headers.get('stream-next-offset')
      } catch (error) {
        if (signal.aborted) {
          // The number may be used or not: go on as someone else.
          this.#id = newId()
          this.#seq = 0
          this.onTrouble(null)
          throw new Abandoned('given up; it may be in the stream or not')
        }
        if (!(error instanceof ApiError) || !error.isTransient) {
          this.onTrouble(null)
          throw error
        }
        this.onTrouble(error.message)
        const pause = Math.max(error.retryAfterMillis, Math.min(LONGEST_PAUSE, 200 * 2 ** Math.min(failures, 6)))
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, pause)
          signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
        })
      }
    }
  }
}

function newId() {
  const random = crypto.getRandomValues(new Uint8Array(6))
  return `ui-${Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}
