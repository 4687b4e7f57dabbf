/**
 * JSON without loss: integers that a number cannot hold are kept as their digits. For the `parse` option of reads, as an
 * application does it that needs them.
 */

/** A string that no JSON text has unescaped stands for the digits. */
const MARK = "\u0001digits:"

export function parseExactly(text) {
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (token) =>
    token.startsWith('"') || Number.isSafeInteger(Number(token)) ? token : JSON.stringify(MARK + token),
  )
  return JSON.parse(marked)
}

export function stringifyExactly(value) {
  return JSON.stringify(value).replace(/"\\u0001digits:(-?\d+)"/g, "$1")
}
