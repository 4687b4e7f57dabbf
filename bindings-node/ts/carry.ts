/** Requests by `fetch`: the core decides what to send, and gets what comes back. */
import type { Carry, Exchange } from "./backend.js"
import * as constants from "./constants.js"

type Fetch = typeof globalThis.fetch

/** What a `fetch` that is called in the name of a handle has to know of it. */
export interface Manner {
  fetch: Fetch
  /** The address as the caller gave it. */
  url: string
  /** Names of headers as the caller gave them: the core has them in lower case. */
  names: Map<string, string>
  /** Whether bodies that the caller gave as text are to be text again. */
  isText: () => boolean
}

const PROTOCOL_NAMES = new Map(
  Object.entries(constants)
    .filter(([constant]) => constant.endsWith("_HEADER"))
    .map(([, name]) => [(name as string).toLowerCase(), name as string]),
)

/**
 * The `fetch` to use where someone has put another one in the place of the platform's, or has told the platform's how to
 * send.
 */
export function replacedFetch(): Fetch | undefined {
  const current = globalThis.fetch
  return current === undefined || (current === platformFetch && !hasOwnDispatcher()) ? undefined : current
}

/** What undici's `setGlobalDispatcher` sets, also for the `fetch` of Node, which puts an `Agent` there at its first use. */
const DISPATCHER = Symbol.for("undici.globalDispatcher.1")

function dispatcher(): object | undefined {
  return (globalThis as Record<symbol, object | undefined>)[DISPATCHER]
}

const firstDispatcher = dispatcher()

/** Whether `setGlobalDispatcher` was called, such as with a `MockAgent`. */
function hasOwnDispatcher(): boolean {
  const current = dispatcher()
  switch (current?.constructor?.name) {
    case undefined:
    // Node's own for proxies of the environment, which the core knows of.
    case "EnvHttpProxyAgent":
      return false
    case "Agent":
      // It may be the one that Node made itself, unless there was another one before.
      return firstDispatcher !== undefined && current !== firstDispatcher
    default:
      return true
  }
}

// What is there when this module is loaded may be a replacement already. Node's own is a thin shell around undici.
const platformFetch = /\binternal\/deps\/undici\b|\blazyUndici\b/.test(
  Function.prototype.toString.call(globalThis.fetch ?? (() => {})),
)
  ? globalThis.fetch
  : undefined

/** The function that carries requests of the core's. */
export function carry(manner: Manner): Carry {
  return (exchange, method, url, flat, body, streams) => {
    const controller = new AbortController()
    const headers: Record<string, string> = {}
    for (let index = 0; index + 1 < flat.length; index += 2) {
      const name = flat[index] as string
      headers[manner.names.get(name) ?? PROTOCOL_NAMES.get(name) ?? name] = flat[index + 1] as string
    }
    const init: RequestInit & { duplex?: "half" } = { method, headers, signal: controller.signal }
    if (streams) {
      init.body = upload(exchange)
      init.duplex = "half"
    } else if (body !== undefined) {
      init.body = asGiven(body, method, headers, manner) as BodyInit
    }
    exchangeBytes(manner.fetch, arranged(url, manner.url), init, exchange).catch((error: unknown) => {
      exchange.fail(error instanceof Object ? error : new Error(String(error)), false)
    })
    return () => controller.abort()
  }
}

async function exchangeBytes(fetch: Fetch, url: string, init: RequestInit, exchange: Exchange): Promise<void> {
  const response = await fetch(url, init)
  exchange.head(response.status, headersOf(response))
  if (response.status !== 204 && response.status !== 304 && init.method !== "HEAD") {
    await bodyOf(response, exchange)
  }
  exchange.end()
}

function headersOf(response: Response): string[] {
  const flat: string[] = []
  const headers = response.headers as Headers | Map<string, string> | Record<string, string> | undefined
  const entries = typeof headers?.entries === "function" ? headers.entries() : Object.entries(headers ?? {})
  for (const [name, value] of entries as Iterable<[string, string]>) {
    flat.push(name, String(value))
  }
  return flat
}

/** Mocks have what their tests need: a stream, or only one of the methods. */
async function bodyOf(response: Response, exchange: Exchange): Promise<void> {
  if (typeof response.body?.getReader === "function") {
    const reader = response.body.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) {
        return
      }
      if (!(await exchange.data(value))) {
        await reader.cancel()
        return
      }
    }
  } else if (typeof response.arrayBuffer === "function") {
    await exchange.data(new Uint8Array(await response.arrayBuffer()))
  } else if (typeof response.text === "function") {
    await exchange.data(await response.text())
  }
}

function upload(exchange: Exchange): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const piece = await exchange.upload()
      if (piece === null) {
        controller.close()
      } else {
        controller.enqueue(piece)
      }
    },
  })
}

/** JSON goes as text, as the official client has it, and what was text at the caller's too. */
function asGiven(body: Uint8Array, method: string, headers: Record<string, string>, manner: Manner): Uint8Array | string {
  const json = /^application\/json\b/i.test(headers["content-type"] ?? "")
  const produced = constants.PRODUCER_ID_HEADER in headers
  const text = method === "POST" && (json || (!produced && manner.isText()))
  return text ? new TextDecoder().decode(body) : body
}

/** The query in the order of the official client, which tests compare: the caller's own, the protocol's, parameters. */
function arranged(url: string, given: string): string {
  const start = url.indexOf("?")
  if (start < 0) {
    return url
  }
  const own = new Set((given.split("?")[1] ?? "").split("&").map((pair) => pair.split("=")[0]))
  const order = ["offset", "live", "cursor"]
  const rank = (pair: string): number => {
    const name = pair.split("=")[0] as string
    const place = order.indexOf(name)
    return place >= 0 ? place + 1 : own.has(name) ? 0 : order.length + 1
  }
  const pairs = url.slice(start + 1).split("&")
  return `${url.slice(0, start)}?${pairs.sort((a, b) => rank(a) - rank(b)).join("&")}`
}
