/** Requests by `fetch`: the core decides what to send, and gets what comes back. */
import { carryBody, uploadsStream, type Carry, type Exchange } from "./backend.js"
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

/** Carries requests by a `fetch` of the caller's, as the official client would make them. */
export function carry(manner: Manner): Carry {
  return (exchange, method, url, flat, body, streams) => {
    const headers = headersOf(flat, (name) => manner.names.get(name) ?? PROTOCOL_NAMES.get(name) ?? name)
    const given = body && asGiven(body, method, headers, manner)
    return send(manner.fetch, arranged(url, manner.url), { method, headers }, given, streams, exchange)
  }
}

/** Carries requests as they are. */
export function carryPlainly(fetch: Fetch): Carry {
  return (exchange, method, url, flat, body, streams) => {
    return send(fetch, url, { method, headers: headersOf(flat, (name) => name) }, body, streams, exchange)
  }
}

/** Sends one request, and gives a function that aborts it. */
function send(
  fetch: Fetch,
  url: string,
  init: RequestInit & { duplex?: "half" },
  body: Uint8Array | string | undefined,
  streams: boolean,
  exchange: Exchange,
): () => void {
  const controller = new AbortController()
  init.signal = controller.signal
  const exchanged = async (): Promise<void> => {
    if (!streams) {
      init.body = body as BodyInit | undefined
    } else if (uploadsStream) {
      init.body = upload(exchange)
      init.duplex = "half"
    } else {
      init.body = await new Response(upload(exchange)).arrayBuffer()
    }
    await exchangeBytes(fetch, url, init, exchange)
  }
  exchanged().catch((error: unknown) => {
    exchange.fail(error instanceof Object ? error : new Error(String(error)), false)
  })
  return () => controller.abort()
}

function headersOf(flat: string[], named: (name: string) => string): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let index = 0; index + 1 < flat.length; index += 2) {
    headers[named(flat[index] as string)] = flat[index + 1] as string
  }
  return headers
}

async function exchangeBytes(fetch: Fetch, url: string, init: RequestInit, exchange: Exchange): Promise<void> {
  const response = await fetch(url, init)
  exchange.head(response.status, flatHeaders(response))
  if (response.status !== 204 && response.status !== 304 && init.method !== "HEAD") {
    await bodyOf(response, exchange)
  }
  exchange.end()
}

function flatHeaders(response: Response): string[] {
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
    await carryBody(response.body, exchange)
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
