// Makes elements. Text only ever becomes text: nothing here parses markup.

/** An element: `h('button', { class: 'x', onclick: f }, 'text', child)`. Attributes that are false or null are left out. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  setAttributes(element, attributes)
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

/** As `h`, for SVG. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name)
  setAttributes(element, attributes)
  element.append(...children)
  return element
}

function setAttributes(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value)
    else element.setAttribute(key, value === true ? '' : value)
  }
}

/** Says something for a few seconds, and to screen readers. */
export function notify(text, kind = 'info') {
  const notice = h('div', { class: `notice ${kind}` }, text)
  const area = document.getElementById('notices')
  area.append(notice)
  while (area.children.length > 4) area.firstChild.remove()
  setTimeout(() => notice.remove(), kind === 'error' ? 10_000 : 4_000)
}

/** Copies text, and says so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    // Pages that did not come over TLS or from this machine have no clipboard of that kind.
    const area = h('textarea', { class: 'offscreen', readonly: true })
    area.value = text
    ;(document.querySelector('dialog[open]') ?? document.body).append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    if (!done) return notify(`${what} could not be copied`, 'error')
  }
  notify(`${what} copied`)
}

/** Whether keys typed into this element are text. */
export function takesText(element) {
  return element instanceof HTMLElement && (element.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(element.tagName))
}
