/** A browser opens few connections to a server that speaks HTTP/1.1, and live reads use them up. */

const warned = new Set<string>()

/** Warns once per origin when a browser uses `http:`; not in tests, and not if it was told so. */
export function warnIfUsingHttpInBrowser(url: string | URL, warnOnHttp?: boolean): void {
  const { window } = globalThis as { window?: { location?: { href: string } } }
  if (warnOnHttp === false || window === undefined || isTesting() || typeof console?.warn !== "function") {
    return
  }
  let address: URL
  try {
    address = new URL(url, window.location?.href)
  } catch {
    return
  }
  if (address.protocol === "http:" && !warned.has(address.origin)) {
    warned.add(address.origin)
    console.warn(
      "[DurableStream] Using HTTP (not HTTPS) typically limits browsers to ~6 concurrent connections per origin under " +
        "HTTP/1.1, so that many live streams slow each other down. Use HTTPS for HTTP/2. " +
        "See https://electric-sql.com/r/electric-http2 for more information.",
    )
  }
}

/** Asked in browsers only: Deno wants a permission for it. */
function isTesting(): boolean {
  return typeof process !== "undefined" && process.env?.NODE_ENV === "test"
}

/** Forgets what was warned of. */
export function _resetHttpWarningForTesting(): void {
  warned.clear()
}
