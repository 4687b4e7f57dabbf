// Server-sent events out of text that comes in any pieces.

export class SseDecoder {
  #rest = ''
  #event = ''
  #data = []

  /** The events that are complete with this text: `{ event, data }`. */
  feed(text) {
    const events = []
    this.#rest += text
    let start = 0
    for (;;) {
      const end = endOfLine(this.#rest, start)
      if (end === -1) break
      const isPair = this.#rest[end] === '\r' && this.#rest[end + 1] === '\n'
      this.#line(this.#rest.slice(start, end), events)
      start = end + (isPair ? 2 : 1)
    }
    this.#rest = this.#rest.slice(start)
    return events
  }

  #line(line, events) {
    if (line === '') {
      if (this.#data.length > 0) events.push({ event: this.#event || 'message', data: this.#data.join('\n') })
      this.#event = ''
      this.#data = []
      return
    }
    const colon = line.indexOf(':')
    const field = colon === -1 ? line : line.slice(0, colon)
    let value = colon === -1 ? '' : line.slice(colon + 1)
    // One space after the colon is no part of it (S-SSE-5).
    if (value.startsWith(' ')) value = value.slice(1)
    if (field === 'event') this.#event = value
    else if (field === 'data') this.#data.push(value)
  }
}

function endOfLine(text, from) {
  for (let i = from; i < text.length; i += 1) {
    const code = text.charCodeAt(i)
    if (code === 10) return i
    // A CR at the end may be half of a CRLF.
    if (code === 13) return i + 1 < text.length ? i : -1
  }
  return -1
}
