// Requests to the server that this page came from.

const TOKEN = 'everstream.token'

/** What the server says about the page: `readOnly`, `access`, `streamRoot`, `version`. */
export let config
let root

export const REGISTRY = '__registry__'
export const PRESENCE = '__presence__'

/** Streams of the page and the server, which nobody else should write to. */
export const isSystem = (path) => path === REGISTRY || path === PRESENCE

export async function loadConfig() {
  const answer = await fetch('config.json', { cache: 'no-store' })
  if (!answer.ok) throw new ApiError(answer.status, 'the page cannot learn about its server')
  config = await answer.json()
  // The page is at `ui/`, perhaps below a path of a proxy.
  root = new URL('..', document.baseURI).href.replace(/\/$/, '') + config.streamRoot
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? '',
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
}

/** A request that failed. `status` 0: no answer came, and what happened is not known. */
export class ApiError extends Error {
  constructor(status, message, headers) {
    super(message)
    this.status = status
    this.headers = headers ?? new Headers()
  }

  /** Whether the same request may succeed later. */
  get isTransient() {
    return this.status === 0 || this.status === 408 || this.status === 429 || (this.status >= 500 && this.status !== 507)
  }

  get retryAfterMillis() {
    const seconds = Number(this.headers.get('retry-after'))
    return Number.isFinite(seconds) ? seconds * 1000 : 0
  }
}

/** The absolute URL of a stream. */
export function streamUrl(path) {
  return `${root}/${path.split('/').map(encodeURIComponent).join('/')}`
}

/** The path of a stream on the server, as forks name their source (S-FORK-1). */
export function streamPathname(path) {
  return `${config.streamRoot}/${path.split('/').map(encodeURIComponent).join('/')}`
}

/** The server's root, with the path of streams. */
export const streamRoot = () => root

/** A request about a stream. Gives the answer if it is a success; everything else is an `ApiError`. */
export function onStream(method, path, options) {
  return send(method, streamUrl(path), options)
}

/** A request to the control API. */
export function onControl(method, route, options) {
  return send(method, `${root}/__ds/${route}`, options)
}

async function send(method, url, { query = {}, headers = {}, body, signal, keepalive } = {}) {
  const target = new URL(url)
  for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value)
  const bearer = token.get()
  if (bearer) headers = { ...headers, authorization: `Bearer ${bearer}` }
  let answer
  try {
    // What the browser remembers is a moment ago; this page shows now.
    answer = await fetch(target, { method, headers, body, signal, keepalive, cache: 'no-store', credentials: 'same-origin' })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiError(0, 'the server does not answer')
  }
  if (answer.ok) return answer
  if (answer.status === 401) window.dispatchEvent(new CustomEvent('token-needed'))
  throw new ApiError(answer.status, await explain(answer, method), answer.headers)
}

async function explain(answer, method) {
  const text = method === 'HEAD' ? '' : (await answer.text().catch(() => '')).trim()
  if (answer.status === 401) return 'a token is needed'
  if (answer.status === 403) return 'this token may not do that'
  if (!text && answer.status === 404) return 'there is no such stream'
  let message = text
  try {
    message = JSON.parse(text).error?.message ?? text
  } catch {
    // Errors of streams are plain text (S-HTTP-5).
  }
  return message || `the server answered ${answer.status}`
}
