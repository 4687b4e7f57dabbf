/** Reads that see what is stored now, and not what the browser kept of an earlier answer. */

type Fetch = typeof globalThis.fetch

/**
 * Has the browser ask the server, also where its cache holds an answer that it may use: a page that reads what it has just
 * written is to see it, and an error is to end with its cause. What is unchanged does not travel again, since the cache asks
 * with the ETag (PROTOCOL.md S-ETAG-1). Live reads are not meant: their addresses are new ones each time.
 */
export function fresh(fetch: Fetch): Fetch {
  return (input, init) => {
    const reads = init?.method === "GET" || init?.method === "HEAD"
    const live = new URL(String(input), globalThis.location?.href).searchParams.has("live")
    return fetch(input, reads && !live ? { ...init, cache: "no-cache" } : init)
  }
}
