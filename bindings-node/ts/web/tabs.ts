/**
 * Tabs that would make the same live request share one: whoever holds the lock of its address makes it, and tells the
 * others the answer. Each tab's core sees an answer as if it came from the network, so nothing else has to know.
 */

type Fetch = typeof globalThis.fetch

/** An answer, as it goes from tab to tab. */
interface Told {
  status: number
  statusText: string
  headers: [string, string][]
  body: ArrayBuffer
}

/** A `fetch` whose long-polls are shared; everything else goes its own way. */
export function shared(fetch: Fetch): Fetch {
  const possible = "BroadcastChannel" in globalThis && globalThis.navigator?.locks !== undefined
  return async (input, init = {}) => {
    const address = new URL(String(input), globalThis.location?.href)
    if (!possible || init.method !== "GET" || address.searchParams.get("live") !== "long-poll") {
      return fetch(input, init)
    }
    return share(await nameOf(address, init.headers), () => fetch(input, init), init.signal)
  }
}

async function share(name: string, fetch: () => Promise<Response>, signal: AbortSignal | null | undefined): Promise<Response> {
  const channel = new BroadcastChannel(name)
  const waiting = new AbortController()
  try {
    return await new Promise<Response>((resolve, reject) => {
      const giveUp = (): void => {
        reject(signal?.reason)
        waiting.abort()
      }
      if (signal?.aborted) {
        giveUp()
        return
      }
      signal?.addEventListener("abort", giveUp, { signal: waiting.signal })
      channel.onmessage = ({ data }: MessageEvent<Told>) => {
        resolve(answerOf(data))
        waiting.abort()
      }
      const make = async (): Promise<void> => {
        // Who had the lock before may have told its answer just now.
        await new Promise((next) => setTimeout(next))
        if (waiting.signal.aborted) {
          return
        }
        const told = await tellable(await fetch())
        channel.postMessage(told)
        resolve(answerOf(told))
      }
      navigator.locks.request(name, { signal: waiting.signal }, make).catch(reject)
    })
  } finally {
    waiting.abort()
    channel.close()
  }
}

async function tellable(response: Response): Promise<Told> {
  const { status, statusText, headers } = response
  return { status, statusText, headers: [...headers], body: await response.arrayBuffer() }
}

function answerOf({ status, statusText, headers, body }: Told): Response {
  return new Response(body.byteLength === 0 ? null : body, { status, statusText, headers })
}

/**
 * What requests have in common that may share an answer: address and headers, which may say who asks. The cursor only
 * tells caches apart. Nobody is to read a token in the name of a lock.
 */
async function nameOf(address: URL, headers: HeadersInit | undefined): Promise<string> {
  address.searchParams.delete("cursor")
  const asked = JSON.stringify([address.href, [...new Headers(headers)].sort()])
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(asked)))
  return `everstream:${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`
}
