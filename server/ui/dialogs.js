// Questions to the user. Each is a modal dialog that Escape closes.

import { onStream, streamPathname, token } from './api.js'
import { copy, h, notify } from './dom.js'
import { isOffset } from './offsets.js'
import { LANGUAGES, snippet } from './snippets.js'

const TYPES = ['application/json', 'text/plain', 'application/octet-stream', 'text/markdown', 'application/x-ndjson']
const UNITS = { seconds: 1, minutes: 60, hours: 3600, days: 86_400 }

/** Shows a form; `submit` does the work, and what it throws is shown. Gives what it gave, or null. */
function ask(title, content, { action, danger = false, submit }) {
  return new Promise((resolve) => {
    const error = h('p', { class: 'form-error', role: 'alert' })
    const confirm = action && h('button', { class: `button ${danger ? 'danger' : 'primary'}`, type: 'submit' }, action)
    let result = null
    const form = h(
      'form',
      {
        onsubmit: async (event) => {
          event.preventDefault()
          error.textContent = ''
          if (confirm) confirm.disabled = true
          try {
            result = (await submit()) ?? true
            dialog.close()
          } catch (failure) {
            error.textContent = failure.message
          } finally {
            if (confirm) confirm.disabled = false
          }
        },
      },
      h('h2', { id: 'dialog-title' }, title),
      ...content,
      error,
      h('div', { class: 'buttons' }, h('button', { class: 'button', type: 'button', onclick: () => dialog.close() }, action ? 'Cancel' : 'Close'), confirm),
    )
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, form)
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(result)
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

function field(label, input, hint) {
  return h('label', { class: 'field' }, h('span', { class: 'label' }, label), input, hint && h('span', { class: 'hint' }, hint))
}

/** How long a stream lives: the headers for it. */
function lifetimeFields() {
  const kind = h('select', { class: 'input', 'aria-label': 'Lifetime' }, h('option', { value: '' }, 'until it is deleted'), h('option', { value: 'ttl' }, 'so long after its last use'), h('option', { value: 'until' }, 'until a moment'))
  const count = h('input', { class: 'input short', type: 'number', min: '1', step: '1', value: '1', 'aria-label': 'How long' })
  const unit = h('select', { class: 'input', 'aria-label': 'Unit' }, ...Object.keys(UNITS).map((name) => h('option', { value: name, selected: name === 'hours' }, name)))
  const until = h('input', { class: 'input', type: 'datetime-local', step: '1', 'aria-label': 'Moment' })
  const ttl = h('span', { class: 'line', hidden: true }, count, unit)
  until.hidden = true
  kind.addEventListener('change', () => {
    ttl.hidden = kind.value !== 'ttl'
    until.hidden = kind.value !== 'until'
  })
  const element = h('div', { class: 'field' }, h('span', { class: 'label' }, 'It lives'), h('span', { class: 'line wrap' }, kind, ttl, until))
  const headers = () => {
    if (kind.value === 'ttl') {
      const amount = Number(count.value)
      if (!Number.isInteger(amount) || amount < 1) throw new Error('the lifetime is a whole number from 1')
      return { 'stream-ttl': String(amount * UNITS[unit.value]) }
    }
    if (kind.value === 'until') {
      if (!until.value) throw new Error('say until when it lives')
      return { 'stream-expires-at': new Date(until.value).toISOString() }
    }
    return {}
  }
  return { element, headers }
}

function pathOf(input) {
  const path = input.value.trim().replace(/^\/+|\/+$/g, '')
  if (path === '') throw new Error('Stream path cannot be empty')
  return path
}

async function put(path, headers) {
  const answer = await onStream('PUT', path, { headers })
  if (answer.status === 200) notify(`${path} was there already`)
  return path
}

/** Gives the path of the new stream. */
export function create() {
  const path = h('input', { class: 'input', required: true, placeholder: 'orders/today', autocomplete: 'off', spellcheck: 'false', autofocus: true })
  const type = h('input', { class: 'input', list: 'types', value: TYPES[0], spellcheck: 'false' })
  const list = h('datalist', { id: 'types' }, ...TYPES.map((value) => h('option', { value })))
  const choices = h(
    'div',
    { class: 'line wrap' },
    ...[['JSON', TYPES[0]], ['Text', TYPES[1]], ['Binary', TYPES[2]]].map(([name, value]) => h('button', { type: 'button', class: 'mini', onclick: () => (type.value = value) }, name)),
  )
  const lifetime = lifetimeFields()
  const closed = h('input', { type: 'checkbox' })
  return ask('New stream', [field('Path', path, 'Slashes make folders. It is the end of the stream’s URL.'), field('Content type', type), list, choices, lifetime.element, h('label', { class: 'check' }, closed, 'Create it closed: it never takes a message')], {
    action: 'Create',
    submit: () => {
      const headers = { 'content-type': type.value.trim() || TYPES[2], ...lifetime.headers() }
      if (closed.checked) headers['stream-closed'] = 'true'
      return put(pathOf(path), headers)
    },
  })
}

/** Gives the path of the fork. */
export function fork(source, offset) {
  const path = h('input', { class: 'input', required: true, value: `${source}-fork`, autocomplete: 'off', spellcheck: 'false', autofocus: true })
  const at = h('input', { class: 'input mono', value: offset, autocomplete: 'off', spellcheck: 'false' })
  const sub = h('input', { class: 'input short', type: 'number', min: '0', step: '1', value: '0' })
  const lifetime = lifetimeFields()
  return ask(`Fork ${source}`, [
    field('Path of the fork', path),
    field('It begins with everything before offset', at, 'Empty: with everything there is.'),
    field('and so many messages (JSON) or bytes more', sub),
    lifetime.element,
  ], {
    action: 'Fork',
    submit: () => {
      const headers = { 'stream-forked-from': streamPathname(source), ...lifetime.headers() }
      const text = at.value.trim()
      if (text !== '' && !isOffset(text)) throw new Error('that is not an offset')
      if (text !== '') headers['stream-fork-offset'] = text === '-1' ? `${'0'.repeat(16)}_${'0'.repeat(16)}` : text
      if (Number(sub.value) > 0) headers['stream-fork-sub-offset'] = sub.value
      return put(pathOf(path), headers)
    },
  })
}

/** Deletes a stream if the user wants it; whether that happened. */
export function remove(path) {
  return ask('Delete this stream?', [h('p', {}, h('b', { class: 'mono' }, path), ' and all its messages will be gone for everyone. Forks keep what they have of it.')], {
    action: 'Delete',
    danger: true,
    submit: async () => void (await onStream('DELETE', path)),
  })
}

/** Closes a stream if the user wants it; whether that happened. */
export function close(path) {
  return ask('Close this stream?', [h('p', {}, h('b', { class: 'mono' }, path), ' will take no more messages, for ever. What it has stays, and readers see that it has ended.')], {
    action: 'Close stream',
    danger: true,
    submit: async () => void (await onStream('POST', path, { headers: { 'stream-closed': 'true' } })),
  })
}

/** Whether there is another token now. */
export async function askForToken(why) {
  const input = h('input', { class: 'input mono', type: 'password', value: token.get(), autocomplete: 'off', autofocus: true })
  return ask('Token', [h('p', {}, why), field('Bearer token', input, 'It stays in this tab until the tab is closed. Empty: none.')], {
    action: 'Use it',
    submit: async () => token.set(input.value.trim().replace(/^bearer\s+/i, '')),
  })
}

/** How to do the same elsewhere. */
export function code(facts) {
  const language = h('select', { class: 'input', 'aria-label': 'Language' }, ...Object.entries(LANGUAGES).map(([value, name]) => h('option', { value }, name)))
  const action = h('select', { class: 'input', 'aria-label': 'Action' }, h('option', { value: 'follow' }, 'read and follow'), h('option', { value: 'read' }, 'read what is there'), h('option', { value: 'append' }, 'append'))
  const text = h('pre', { class: 'code', tabindex: '0' })
  language.value = localStorage.getItem('everstream.language') ?? 'curl'
  const show = () => {
    localStorage.setItem('everstream.language', language.value)
    text.textContent = snippet(language.value, action.value, facts)
  }
  language.addEventListener('change', show)
  action.addEventListener('change', show)
  show()
  return ask('Use this stream elsewhere', [h('div', { class: 'line wrap' }, language, action), text], { action: 'Copy', submit: () => copy(text.textContent, 'Code') })
}

const KEYS = [
  ['/', 'search streams'],
  ['n', 'new stream'],
  ['m', 'write a message'],
  ['f', 'filter messages'],
  ['g', 'go to an offset'],
  ['p', 'pause or go on'],
  ['e', 'go to the end and stay there'],
  ['x', 'unfold or fold all'],
  ['↑ ↓', 'from message to message, from stream to stream'],
  ['← →', 'fold and unfold a message'],
  ['r  c  k', 'a message: as stored, copy, fork after it'],
  ['Enter', 'send; Shift+Enter new line; Ctrl+Enter send and close'],
  ['Delete', 'delete the stream that is marked in the list'],
  ['?', 'this'],
]

export function keys() {
  const rows = KEYS.map(([key, meaning]) => h('tr', {}, h('td', {}, h('kbd', {}, key)), h('td', {}, meaning)))
  return ask('Keyboard', [h('table', { class: 'keys' }, h('tbody', {}, ...rows))], { submit: async () => true })
}
