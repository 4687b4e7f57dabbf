// Offsets of this server: `0000000000000000_<bytes stored before>`, 16 digits each (server/src/engine/position.rs). To every
// other client they are opaque. This page comes with the server, so it may count: how much there is, how far behind it
// is, and where in an answer each JSON message begins.

export const BEGINNING = '-1'

/** The number of bytes before an offset. */
export function positionOf(offset) {
  // The sentinels `-1` and `now` are no positions.
  return isOffset(offset) && offset !== BEGINNING ? Number(offset.split('_')[1]) : 0
}

export function offsetOf(position) {
  return `${'0'.repeat(16)}_${String(position).padStart(16, '0')}`
}

/** Whether text can be an offset of this server. */
export function isOffset(text) {
  return text === BEGINNING || /^\d{1,16}_\d{1,16}$/.test(text)
}

/** Bytes of text in UTF-8. */
export function utf8Length(text) {
  let length = text.length
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i)
    if (code < 0x80) continue
    if (code < 0x800) length += 1
    else if (code >= 0xd800 && code < 0xdc00) {
      // A pair: two units, four bytes.
      length += 2
      i += 1
    } else length += 2
  }
  return length
}
