/**
 * What the face needs from below, in browsers and what is like them: the core as WebAssembly, and `fetch`. The build for
 * browsers has this in the place of `../backend.ts`.
 */
import "everstream-web-module"

import { Client as WebClient, Stream, checkCheckpoint, setErrorFactory } from "everstream-web-glue"

import type { Backend, Client } from "../backend.js"
import { carryPlainly } from "../carry.js"
import { fresh } from "./fresh.js"
import { keptAlive } from "./keepalive.js"
export { carryBody } from "./body.js"
import { shared } from "./tabs.js"

type Fetch = typeof globalThis.fetch

export const backend = {
  Abort: AbortController,
  Client: WebClient,
  Stream,
  checkCheckpoint,
  setErrorFactory,
} as unknown as Backend

// Looked up with each request: instrumentation and mocks come and go.
const platform: Fetch = (input, init) => globalThis.fetch(input, init)

const clients: { [kind in "alone" | "tabs"]?: Client } = {}

/** What carries requests when the caller gives no `fetch`. `tabs`: together with the other tabs of this browser. */
export function connections(tabs = false): Client {
  return (clients[tabs ? "tabs" : "alone"] ??= client(tabs ? shared(platform) : platform))
}

function client(fetch: Fetch): Client {
  const { location } = globalThis as { location?: Location }
  // So that the address of a stream may be a path of the page's server.
  const baseUrl = location?.protocol.startsWith("http") ? location.origin : undefined
  // Where there is no page, there is no cache to get by either, and some refuse to be told how to use it.
  return new backend.Client({ baseUrl }, carryPlainly(keptAlive(location ? fresh(fetch) : fetch)))
}

/** The platform's `fetch` carries everything that no given one does, however it was replaced. */
export function replacedFetch(): Fetch | undefined {
  return undefined
}

/** Browsers can send a body while it is made over HTTP/2 only. */
export const uploadsStream = false
