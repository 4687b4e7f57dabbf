/**
 * What the face needs from below: the core, driven by something that carries bytes. Here that is the native add-on; the
 * build for browsers has `web/backend.ts` in the place of this file.
 */
import type * as native from "../native.js"
import type { Client } from "../native.js"

export type {
  Abort,
  Answer,
  Appended,
  Ask,
  Carry,
  Client,
  ConnectionOptions,
  Delivery,
  ErrorFacts,
  Exchange,
  HandleOptions,
  Lease,
  Producer,
  Reader,
  Receipt,
  Stream,
  Subscriptions,
  Taken,
  Values,
  WebhookVerifier,
  Worker,
} from "../native.js"

type Fetch = typeof globalThis.fetch

/** Data, and where it leaves the reader. */
export interface Batch extends native.Batch {
  /** The messages, where the platform has parsed them on the way, and nobody has taken them. */
  parsed?(): unknown[] | undefined
}

/** The part of the add-on that every platform has. */
export type Core = Pick<typeof native, "Abort" | "Client" | "Stream" | "checkCheckpoint" | "setErrorFactory">

/** The part that needs files, sockets to listen on and a process. */
export type NodeOnly = Pick<
  typeof native,
  "Server" | "Subscriptions" | "WebhookVerifier" | "loadCheckpoint" | "runCommand" | "storeCheckpoint"
>

/** What a platform has. */
export type Backend = Core & Partial<NodeOnly>

// eslint-disable-next-line @typescript-eslint/no-require-imports
export const backend: Backend = require("../native.js") as Core & NodeOnly

let shared: Client | undefined

/** What carries requests when the caller gives no `fetch`: connections of our own. There are no tabs to share them. */
export function connections(_tabs = false): Client {
  return (shared ??= new backend.Client({}, undefined))
}

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

/** Whether the body of a request can be sent while it is made. */
export const uploadsStream = true

/** Hands over the body of an answer, piece by piece, as long as anybody wants it. */
export async function carryBody(body: ReadableStream<Uint8Array>, exchange: native.Exchange): Promise<void> {
  const pieces = body.getReader()
  for (;;) {
    const { done, value } = await pieces.read()
    if (done) {
      return
    }
    if (!(await exchange.data(value))) {
      await pieces.cancel()
      return
    }
  }
}
