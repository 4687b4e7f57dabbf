/**
 * The adapter side of the client conformance protocol: commands and results, errors, and what is remembered between two
 * commands.
 */
import { DurableStreamError } from "./everstream.mjs"
import { clientName, clientVersion, features } from "./platform.mjs"

const FEATURES = [
  "auto",
  "batching",
  "batchItems",
  "dynamicHeaders",
  "longPoll",
  "retryOptions",
  "sse",
  "streaming",
  "strictZeroValidation",
]

/** An answer after the runner's limit would be taken for that of the next command. */
export const TRY_LIMIT_MS = 8_000
const TOTAL_LIMIT_MS = 10_000
const DELIVERY_LIMIT_MS = 15_000

/** The protocol's code for each of ours; any other is told by its status. */
const ERROR_CODES = {
  BAD_REQUEST: "UNEXPECTED_STATUS",
  CONFLICT_CONTENT_TYPE: "CONFLICT",
  CONFLICT_EXISTS: "CONFLICT",
  CONFLICT_SEQ: "SEQUENCE_CONFLICT",
  INVALID_ARGUMENT: "INVALID_ARGUMENT",
  INVALID_OFFSET: "INVALID_OFFSET",
  NETWORK_ERROR: "NETWORK_ERROR",
  NOT_FOUND: "NOT_FOUND",
  NOT_SUPPORTED: "NOT_SUPPORTED",
  PARSE_ERROR: "PARSE_ERROR",
  PROTOCOL_ERROR: "PARSE_ERROR",
  SEQUENCE_GAP: "SEQUENCE_CONFLICT",
  STREAM_CLOSED: "STREAM_CLOSED",
  TIMEOUT: "TIMEOUT",
}

/** A command, or a part of one, that this adapter does not know. */
export class NotSupported extends Error {}

/** The command in a line. */
export function parseCommand(line) {
  const command = JSON.parse(line)
  if (typeof command?.type !== "string") {
    throw new Error("a command is an object with a type")
  }
  return command
}

/** The line for a result: ASCII, so that no reader takes U+2028 for the end of the line. */
export function encode(result) {
  const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  return JSON.stringify(result).replace(/[\u007f-\uffff]/g, escaped)
}

export function success(command, values) {
  return { type: command.type, success: true, ...values }
}

export function unparsable(error) {
  return failed("init", { errorCode: "PARSE_ERROR", message: `not a command: ${error.message}` })
}

/** What became of a command that failed. */
export function failure(command, error) {
  if (error instanceof NotSupported) {
    return failed(command.type, { errorCode: "NOT_SUPPORTED", message: error.message })
  }
  if (!(error instanceof DurableStreamError)) {
    return failed(command.type, { errorCode: "INTERNAL_ERROR", message: String(error) })
  }
  const told = facts(error)
  if (command.type === "read" && error.status === 400) {
    // The offset is all that a read can have wrong.
    told.errorCode = "INVALID_OFFSET"
  }
  if (told.errorCode === "PARSE_ERROR") {
    delete told.status
  }
  return failed(command.type, told)
}

function failed(kind, told) {
  return { type: "error", success: false, commandType: kind, ...told }
}

/** An error as one of many in a result. */
export function described(error) {
  if (!(error instanceof DurableStreamError)) {
    throw error
  }
  return { ok: false, ...facts(error) }
}

function facts(error) {
  const other = error.status === undefined ? "INTERNAL_ERROR" : "UNEXPECTED_STATUS"
  const { code, outcomeUnknown, finalOffset, currentEpoch, expectedSeq, receivedSeq } = error
  return {
    errorCode: ERROR_CODES[code] ?? other,
    message: inProtocolNames(error),
    status: error.status,
    details: { code, outcomeUnknown, finalOffset, currentEpoch, expectedSeq, receivedSeq },
  }
}

/** The message, with the protocol's names for the options where it tells of one. */
function inProtocolNames(error) {
  return error.code === "INVALID_ARGUMENT"
    ? error.message.replace(/\b(initialDelay|maxDelay)\b/g, "$1Ms")
    : error.message
}

/** A header or parameter with a value of its own for each command, or with a function that the library asks. */
class Dynamic {
  #count = 0

  constructor({ valueType, initialValue = "" }) {
    this.kind = valueType
    this.token = initialValue
  }

  next() {
    const count = () => String((this.#count += 1))
    switch (this.kind) {
      case "counter":
        return count()
      case "timestamp":
        return String(Date.now())
      case "token":
        return this.token
      case "per-request":
        return count
      case "failing":
        return () => {
          throw new Error("the function fails on purpose")
        }
      default:
        throw new NotSupported(`unknown kind of value: ${this.kind}`)
    }
  }
}

/** What is remembered between `init` and the next. */
export class Session {
  /** By path. Saves the library its HEAD, which would take a fault that is meant for the request after it. */
  contentTypes = new Map()
  /** By path, id and epoch. */
  producers = new Map()
  /** Of subscriptions: the verifiers, the worker and the lease. */
  hooks = new Map()
  #headers = new Map()
  #params = new Map()

  constructor(serverUrl = "") {
    this.serverUrl = serverUrl
  }

  setDynamic(command) {
    const values = command.type === "set-dynamic-header" ? this.#headers : this.#params
    values.set(command.name, new Dynamic(command))
  }

  clearDynamic() {
    this.#headers.clear()
    this.#params.clear()
  }

  /**
   * The headers and parameters of an append or a read, and what the result tells of them. Computed once: a counter counts
   * commands, not retries.
   */
  sent(command) {
    const next = (values) => Object.fromEntries([...values].map(([name, value]) => [name, value.next()]))
    const texts = (values, names) => {
      const known = Object.entries(values).filter(([name, value]) => names.has(name) && typeof value === "string")
      return known.length === 0 ? undefined : Object.fromEntries(known)
    }
    const headers = { ...next(this.#headers), ...command.headers }
    const params = next(this.#params)
    return {
      options: { headers, params },
      report: { headersSent: texts(headers, this.#headers), paramsSent: texts(params, this.#params) },
    }
  }

  /** Options of everything that sends requests. */
  options(command) {
    return {
      url: this.serverUrl + command.path,
      headers: command.headers,
      contentType: this.contentTypes.get(command.path),
      timeoutMs: TRY_LIMIT_MS,
      backoffOptions: { totalMs: TOTAL_LIMIT_MS, ...backoffOf(command.retry) },
    }
  }
}

export function initialized(command) {
  return success(command, {
    clientName,
    clientVersion,
    features: Object.fromEntries([...FEATURES, ...features].map((name) => [name, true])),
  })
}

/** The retries that a command asks for; the protocol's names end in the unit. */
export function backoffOf({ maxRetries, initialDelayMs, maxDelayMs, multiplier } = {}) {
  const given = { maxRetries, initialDelay: initialDelayMs, maxDelay: maxDelayMs, multiplier }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

/** What an append or a producer's action carries. */
export function dataOf({ data, binary }) {
  return binary ? Uint8Array.from(atob(data), (character) => character.charCodeAt(0)) : data
}

/** Options of the producer that stays: each append goes out at once. */
export function stayingOptions({ epoch = 0, autoClaim = false }) {
  return { epoch, autoClaim, lingerMs: 0, maxInFlight: 1, deliveryTimeoutMs: DELIVERY_LIMIT_MS }
}

/** Options of a producer for one batch: all items in one request, or one in each and several under way. */
export function batchOptions(command) {
  const { maxInFlight = 1 } = command
  const shape = maxInFlight > 1 ? { lingerMs: 0, maxBatchBytes: 1 } : { lingerMs: 1000 }
  return { ...stayingOptions(command), maxInFlight, ...shape }
}

/** Options of a producer that lives for one command. */
export function runOptions(command) {
  const { epoch, autoClaim, lingerMs, maxBatchBytes, maxBatchItems, maxBufferedBytes, maxInFlight } = command
  const { deliveryTimeoutMs = DELIVERY_LIMIT_MS } = command
  return { epoch, autoClaim, lingerMs, maxBatchBytes, maxBatchItems, maxBufferedBytes, maxInFlight, deliveryTimeoutMs }
}

export function isJson(contentType = "") {
  return contentType.split(";")[0].trim().toLowerCase() === "application/json"
}
