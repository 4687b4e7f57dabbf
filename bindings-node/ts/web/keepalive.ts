/** Writes that outlive the page. */

type Fetch = typeof globalThis.fetch

/** A browser refuses more than 64 KiB under way at once in all of a page; others may want some of it. */
const MOST_BYTES = 48 * 1024

/** Has small writes finish although the page is closed. Reads, and what is beyond the browser's limit, end with it. */
export function keptAlive(fetch: Fetch): Fetch {
  let underWay = 0
  return async (input, init) => {
    const size = init?.method === "POST" && init.body instanceof Uint8Array ? init.body.length : 0
    if (size === 0 || underWay + size > MOST_BYTES) {
      return fetch(input, init)
    }
    underWay += size
    try {
      return await fetch(input, { ...init, keepalive: true })
    } finally {
      underWay -= size
    }
  }
}
