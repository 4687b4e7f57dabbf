// Where messages are written. Enter sends, Shift+Enter makes a line, Ctrl+Enter sends and closes the stream.

import { h, notify } from './dom.js'
import { Abandoned, Producer } from './producer.js'

const FORMS = { text: 'Text', hex: 'Hex', base64: 'Base64' }

export class Composer {
  #path
  #kind
  #producer
  #presence
  #onClosed
  #draft
  #pending = 0
  #input = h('textarea', { class: 'input', rows: '1', 'aria-label': 'Message', spellcheck: 'false' })
  #error = h('div', { class: 'form-error', role: 'alert' })
  #trouble = h('span', { class: 'trouble' })
  #form = h('select', { class: 'input small', 'aria-label': 'The message is written as' }, ...Object.entries(FORMS).map(([value, name]) => h('option', { value }, name)))
  #line = h('input', { type: 'checkbox', checked: true })

  /** @param onClosed called when the stream was closed from here, or shows to be closed */
  constructor({ path, contentType, kind, presence, onClosed }) {
    this.#path = path
    this.#kind = kind
    this.#presence = presence
    this.#onClosed = onClosed
    this.#draft = `everstream.draft.${path}`
    this.#producer = new Producer(path, contentType, (trouble) => this.#showTrouble(trouble))
    this.#input.placeholder = { json: '{ "a": "JSON message" }', text: 'Text to append', binary: 'Bytes to append' }[kind]
    this.#input.value = sessionStorage.getItem(this.#draft) ?? ''
    this.#input.addEventListener('input', () => this.#typed())
    this.#input.addEventListener('keydown', (event) => this.#key(event))
    this.#trouble.hidden = true
    this.element = h(
      'form',
      { class: 'composer', 'aria-label': 'Write to this stream', onsubmit: (event) => (event.preventDefault(), this.#submit(false)) },
      this.#error,
      h(
        'div',
        { class: 'composer-line' },
        this.#input,
        h('button', { class: 'button primary', type: 'submit', title: 'Enter' }, 'Send'),
      ),
      h(
        'div',
        { class: 'composer-hints' },
        kind === 'binary' && this.#form,
        kind === 'text' && h('label', { class: 'check' }, this.#line, 'end with a line feed'),
        h('span', { class: 'hint grow' }, 'Enter sends · Shift+Enter new line · Ctrl+Enter sends and closes'),
        this.#trouble,
      ),
    )
    this.#grow()
  }

  focus() {
    this.#input.focus()
  }

  destroy() {
    this.#presence.stopTyping()
  }

  #typed() {
    this.#error.textContent = ''
    sessionStorage.setItem(this.#draft, this.#input.value)
    this.#presence.type()
    this.#grow()
  }

  #grow() {
    this.#input.rows = Math.min(8, this.#input.value.split('\n').length)
  }

  #key(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    this.#submit(event.ctrlKey || event.metaKey)
  }

  async #submit(close) {
    const text = this.#input.value
    let body
    try {
      body = this.#encode(text)
    } catch (error) {
      this.#error.textContent = error.message
      return
    }
    if (body === null && !close) return
    this.#input.value = ''
    this.#input.dispatchEvent(new Event('input'))
    this.#presence.stopTyping()
    this.#pending += 1
    try {
      await this.#producer.send(body, close)
      if (close) {
        notify('The stream is closed')
        this.#onClosed()
      }
    } catch (error) {
      const why = error instanceof Abandoned ? `The message was ${error.message}.` : `Not sent: ${error.message}.`
      this.#giveBack(text, why)
      if (error.status === 409 && error.headers.has('stream-closed')) this.#onClosed()
    } finally {
      this.#pending -= 1
    }
  }

  /** Back to where it can be mended, unless something else is being written already. */
  #giveBack(text, why) {
    if (!this.element.isConnected) {
      // Its page was left meanwhile: said where it is seen, and kept for whoever comes back.
      if (!sessionStorage.getItem(this.#draft)) sessionStorage.setItem(this.#draft, text)
      return notify(`${this.#path}: ${why}`, 'error')
    }
    if (this.#input.value === '') {
      this.#input.value = text
      sessionStorage.setItem(this.#draft, text)
      this.#grow()
    }
    this.#error.textContent = why
  }

  /** The body of the request; null if there is nothing to send. */
  #encode(text) {
    if (text === '') return null
    if (this.#kind === 'text') return this.#line.checked ? `${text}\n` : text
    if (this.#kind === 'json') {
      if (text.trim() === '') return null
      try {
        JSON.parse(text)
      } catch (error) {
        throw new Error(`This is not JSON: ${error.message}`)
      }
      // An array stays one message (C-WRITE-2).
      return `[${text}]`
    }
    if (this.#form.value === 'hex') return bytesOfHex(text)
    if (this.#form.value === 'base64') return bytesOfBase64(text)
    return new TextEncoder().encode(text)
  }

  #showTrouble(trouble) {
    this.#trouble.hidden = trouble === null
    if (trouble === null) return
    this.#trouble.replaceChildren(
      `Sending again: ${trouble} `,
      h('button', { class: 'mini', type: 'button', onclick: () => this.#producer.abandon() }, 'give up'),
    )
  }
}

function bytesOfHex(text) {
  const digits = text.replace(/0x|[\s,:]/gi, '')
  if (!/^([0-9a-f]{2})+$/i.test(digits)) throw new Error('Hexadecimal is pairs of the digits 0 to 9 and a to f')
  return Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16))
}

function bytesOfBase64(text) {
  try {
    return Uint8Array.from(atob(text.trim()), (char) => char.charCodeAt(0))
  } catch {
    throw new Error('This is not Base64')
  }
}
