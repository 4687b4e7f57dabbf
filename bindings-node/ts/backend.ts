/**
 * What the face needs from below: the core, driven by something that carries bytes. Here that is the native add-on; a
 * build for browsers puts another one of the same shape in its place.
 */
import type * as native from "../native.js"

export type {
  Abort,
  Answer,
  Appended,
  Ask,
  Batch,
  Carry,
  Client,
  ConnectionOptions,
  Delivery,
  ErrorFacts,
  Exchange,
  Producer,
  Reader,
  Receipt,
  Stream,
  Taken,
  Values,
} from "../native.js"

/** The part of the add-on that every platform has. */
export type Backend = Pick<typeof native, "Abort" | "Client" | "Stream" | "checkCheckpoint" | "setErrorFactory">

/** The part that needs files, sockets to listen on and a process. */
export type NodeBackend = Backend & Pick<typeof native, "Server" | "loadCheckpoint" | "runCommand" | "storeCheckpoint">

// eslint-disable-next-line @typescript-eslint/no-require-imports
export const backend: NodeBackend = require("../native.js") as NodeBackend
