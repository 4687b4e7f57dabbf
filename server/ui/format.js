// Numbers, times and types as people read them.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

export function bytes(count) {
  let unit = 0
  while (count >= 1024 && unit < UNITS.length - 1) {
    count /= 1024
    unit += 1
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`
}

export function number(count) {
  return count.toLocaleString('en')
}

export function plural(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`
}

export function seconds(count) {
  if (count % 86_400 === 0 && count > 0) return plural(count / 86_400, 'day')
  if (count % 3600 === 0 && count > 0) return plural(count / 3600, 'hour')
  if (count % 60 === 0 && count > 0) return plural(count / 60, 'minute')
  return plural(count, 'second')
}

export function time(millis) {
  return new Date(millis).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })
}

/** What kind of messages a stream of this content type has: `json`, `text` or `binary` (S-SSE-2). */
export function kindOf(contentType) {
  const type = contentType.split(';')[0].trim().toLowerCase()
  if (type === 'application/json') return 'json'
  return type.startsWith('text/') ? 'text' : 'binary'
}

/** A content type without what everyone knows. */
export function shortType(contentType) {
  const type = contentType.split(';')[0].trim().toLowerCase()
  if (type === 'application/octet-stream') return 'binary'
  return type.replace(/^application\//, '')
}
