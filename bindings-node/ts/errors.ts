/** Errors. All that the core tells of are `DurableStreamError`s; `code` is the same in every language. */
import { backend, type ErrorFacts } from "./backend.js"

/** Codes of errors. Those of the official client, and those that only this one tells apart. */
export type DurableStreamErrorCode =
  | "ALREADY_CLOSED"
  | "ALREADY_CONSUMED"
  | "BAD_REQUEST"
  | "BUFFER_FULL"
  | "BUSY"
  | "CANCELLED"
  | "CONFLICT_CONTENT_TYPE"
  | "CONFLICT_EXISTS"
  | "CONFLICT_SEQ"
  | "FORBIDDEN"
  | "INTERNAL_ERROR"
  | "INVALID_ARGUMENT"
  | "INVALID_OFFSET"
  | "NETWORK_ERROR"
  | "NOT_FOUND"
  | "NOT_SUPPORTED"
  | "PARSE_ERROR"
  | "PAYLOAD_TOO_LARGE"
  | "PROTOCOL_ERROR"
  | "RATE_LIMITED"
  | "RETENTION_GONE"
  | "SEQUENCE_GAP"
  | "SERVER_ERROR"
  | "SSE_NOT_SUPPORTED"
  | "STALE_EPOCH"
  | "STREAM_CLOSED"
  | "STREAM_RECREATED"
  | "TIMEOUT"
  | "UNAUTHORIZED"
  | "UNEXPECTED_STATUS"
  | "UNKNOWN"

/** A run of a producer's messages that was not stored, or may not have been (`error.outcomeUnknown`). */
export interface BatchFailure {
  /** Number of the first one, counted from 0 in the order of `append`. */
  firstMessage: number
  /** How many in a row. */
  messages: number
  /** Why. */
  error: Error
}

/** What every error of this package is. */
export class DurableStreamError extends Error {
  override name = "DurableStreamError"
  /** Stable name of what went wrong. */
  code: DurableStreamErrorCode
  /** HTTP status, if the server answered. */
  status?: number
  /** What the server said, parsed if it is JSON. */
  details?: unknown
  /** The stream, without credentials and query. */
  url?: string
  /** What was tried, such as `append`. */
  operation?: string
  /** Whether the same call may succeed later. */
  retryable = false
  /** Whether a write may have been stored although it failed: the request left, and no answer came. */
  outcomeUnknown = false
  /** How long the server asked to wait, in seconds. */
  retryAfter?: number
  /** Of a producer: every run of messages that was not stored. */
  failures: BatchFailure[] = []

  constructor(message: string, code: DurableStreamErrorCode, status?: number, details?: unknown) {
    super(message)
    this.code = code
    this.status = status
    this.details = details
  }

  /** The error for an answer of a server, as the official client makes it. */
  static async fromResponse(response: Response, url: string): Promise<DurableStreamError> {
    const { text, json } = await bodyOf(response)
    const message = `Durable stream error at ${url}: ${response.statusText || response.status}`
    return new DurableStreamError(message, codeOf(response.status), response.status, json ?? text)
  }

  /** The same failure, told as this class does. */
  static fromFetchError(error: FetchError): DurableStreamError {
    return new DurableStreamError(error.message, codeOf(error.status), error.status, error.json ?? error.text)
  }
}

/** The server answered, and the answer is a failure. */
export class FetchError extends DurableStreamError {
  override name = "FetchError"
  declare status: number
  /** The body of the answer, unless it is JSON. */
  text?: string
  /** The body of the answer, if it is JSON. */
  json?: object
  /** Names are in lower case. */
  headers: Record<string, string>

  constructor(
    status: number,
    text: string | undefined,
    json: object | undefined,
    headers: Record<string, string>,
    public override url: string,
    message?: string,
  ) {
    super(message || `HTTP Error ${status} at ${url}: ${text ?? JSON.stringify(json)}`, codeOf(status), status, json ?? text)
    this.text = text
    this.json = json
    this.headers = headers
  }

  /** The error for an answer. */
  static override async fromResponse(response: Response, url: string): Promise<FetchError> {
    const { text, json } = await bodyOf(response)
    return new FetchError(response.status, text, json, Object.fromEntries(response.headers.entries()), url)
  }
}

/** `createFetchWithBackoff` was aborted. */
export class FetchBackoffAbortError extends Error {
  override name = "FetchBackoffAbortError"

  constructor() {
    super("Fetch with backoff aborted")
  }
}

/** A handle was made without `url`. */
export class MissingStreamUrlError extends Error {
  override name = "MissingStreamUrlError"

  constructor() {
    super("Invalid stream options: missing required url parameter")
  }
}

/** `signal` is something else. */
export class InvalidSignalError extends Error {
  override name = "InvalidSignalError"

  constructor() {
    super("Invalid signal option. It must be an instance of AbortSignal.")
  }
}

/** 409: the stream is closed. */
export class StreamClosedError extends FetchError {
  override name = "StreamClosedError"
  override code = "STREAM_CLOSED" as const
  readonly streamClosed = true
  /** Where it ends. */
  finalOffset?: string

  constructor(url?: string, finalOffset?: string) {
    super(409, undefined, undefined, {}, url ?? "", "Cannot append to closed stream")
    this.details = url
    this.finalOffset = finalOffset
  }
}

/** 403: another producer took over with this or a later epoch. */
export class StaleEpochError extends FetchError {
  override name = "StaleEpochError"
  override code = "STALE_EPOCH" as const

  constructor(
    /** The epoch that the server holds. */
    public currentEpoch: number,
  ) {
    const advice = "Call restart() or create a new producer with a higher epoch."
    super(403, undefined, undefined, {}, "", `Producer epoch is stale. Current server epoch: ${currentEpoch}. ${advice}`)
  }
}

/** 409: batches before this one are missing on the server, and this producer does not have them. */
export class SequenceGapError extends FetchError {
  override name = "SequenceGapError"
  override code = "SEQUENCE_GAP" as const

  constructor(
    /** The seq that the server waits for. */
    public expectedSeq: number,
    /** The seq that it received. */
    public receivedSeq: number,
  ) {
    super(409, undefined, undefined, {}, "", `Producer sequence gap: expected ${expectedSeq}, received ${receivedSeq}`)
  }
}

/** The reader, handle or producer was closed before the call, or the lease finished or released. */
export class AlreadyClosedError extends DurableStreamError {}
/** 400, or an append of nothing. */
export class BadRequestError extends FetchError {}
/** A producer's buffer is full; the message was not taken. */
export class BufferFullError extends DurableStreamError {}
/** The operation was given up. */
export class OperationCancelledError extends DurableStreamError {}
/** 409 on an append: its content type is not the stream's. */
export class ContentTypeConflictError extends FetchError {}
/** 409 on create: the stream exists with another configuration. */
export class StreamExistsError extends FetchError {}
/** 403. */
export class ForbiddenError extends FetchError {}
/** 410: the stream is soft-deleted, or the offset was dropped by retention. */
export class RetentionGoneError extends FetchError {}
/** A defect of this library. */
export class InternalError extends DurableStreamError {}
/** An argument was refused before anything was sent; the message names it. */
export class InvalidArgumentError extends DurableStreamError {}
/** The server does not know the offset. */
export class InvalidOffsetError extends FetchError {}
/** A webhook is not known to be from the server: answer 401. */
export class InvalidSignatureError extends DurableStreamError {}
/** 409: the wake of a subscription is over, or another worker has it. Stop working on it. */
export class LeaseLostError extends FetchError {}
/** No answer: the connection could not be made, or broke. */
export class NetworkError extends DurableStreamError {}
/** 404: no such stream. */
export class StreamNotFoundError extends FetchError {}
/** The server or this library lacks the feature. */
export class NotSupportedError extends DurableStreamError {}
/** A body or an event could not be parsed. */
export class ParseError extends DurableStreamError {}
/** 413: more than the server takes in one request. */
export class PayloadTooLargeError extends FetchError {}
/** The server's answer breaks the protocol. */
export class ProtocolError extends DurableStreamError {}
/** 429 after the last retry. */
export class RateLimitedError extends FetchError {}
/** 409: `Stream-Seq` is not greater than the last one accepted. */
export class SeqConflictError extends FetchError {}
/** 500, 502 or 504 after the last retry. */
export class ServerError extends FetchError {}
/** The stream was deleted and created anew, or the server lost data: the offset means nothing any more. */
export class StreamRecreatedError extends DurableStreamError {}
/** A time limit passed. */
export class RequestTimeoutError extends DurableStreamError {}
/** 401. */
export class UnauthorizedError extends FetchError {}
/** 503 after the last retry. */
export class ServerBusyError extends FetchError {}
/** Any other status. */
export class UnexpectedStatusError extends FetchError {}

/** Which code becomes which class. The only place that says so. */
export const CLASSES: Readonly<Record<string, abstract new (...args: never[]) => DurableStreamError>> = {
  ALREADY_CLOSED: AlreadyClosedError,
  BAD_REQUEST: BadRequestError,
  BUFFER_FULL: BufferFullError,
  BUSY: ServerBusyError,
  CANCELLED: OperationCancelledError,
  CONFLICT_CONTENT_TYPE: ContentTypeConflictError,
  CONFLICT_EXISTS: StreamExistsError,
  CONFLICT_SEQ: SeqConflictError,
  FENCED: LeaseLostError,
  FORBIDDEN: ForbiddenError,
  INTERNAL_ERROR: InternalError,
  INVALID_ARGUMENT: InvalidArgumentError,
  INVALID_OFFSET: InvalidOffsetError,
  INVALID_SIGNATURE: InvalidSignatureError,
  NETWORK_ERROR: NetworkError,
  NOT_FOUND: StreamNotFoundError,
  NOT_SUPPORTED: NotSupportedError,
  PARSE_ERROR: ParseError,
  PAYLOAD_TOO_LARGE: PayloadTooLargeError,
  PROTOCOL_ERROR: ProtocolError,
  RATE_LIMITED: RateLimitedError,
  RETENTION_GONE: RetentionGoneError,
  SEQUENCE_GAP: SequenceGapError,
  SERVER_ERROR: ServerError,
  STALE_EPOCH: StaleEpochError,
  STREAM_CLOSED: StreamClosedError,
  STREAM_RECREATED: StreamRecreatedError,
  TIMEOUT: RequestTimeoutError,
  UNAUTHORIZED: UnauthorizedError,
  UNEXPECTED_STATUS: UnexpectedStatusError,
}

const NAMES = new Map(Object.entries({
  AlreadyClosedError,
  BadRequestError,
  BufferFullError,
  ContentTypeConflictError,
  ForbiddenError,
  InternalError,
  InvalidArgumentError,
  InvalidOffsetError,
  InvalidSignatureError,
  LeaseLostError,
  NetworkError,
  NotSupportedError,
  OperationCancelledError,
  ParseError,
  PayloadTooLargeError,
  ProtocolError,
  RateLimitedError,
  RequestTimeoutError,
  RetentionGoneError,
  SeqConflictError,
  SequenceGapError,
  ServerBusyError,
  ServerError,
  StaleEpochError,
  StreamClosedError,
  StreamExistsError,
  StreamNotFoundError,
  StreamRecreatedError,
  UnauthorizedError,
  UnexpectedStatusError,
}).map(([name, type]) => [type, name] as const)) as Map<unknown, string>

/** The error for one of the core. */
function fromNative(code: string, message: string, facts: ErrorFacts): Error {
  const type = CLASSES[code] ?? DurableStreamError
  const { body, cause, ...rest } = facts
  const json = parsed(body, rest.headers)
  // Past the constructors: they are those of the official client, and each takes something else.
  const details = json ?? body
  const error = Reflect.construct(DurableStreamError, [message, code, rest.status, details], type) as DurableStreamError
  Object.assign(error, rest, { name: NAMES.get(type) ?? "DurableStreamError" })
  if (error instanceof FetchError) {
    error.headers ??= {}
    error.text = json === undefined ? body : undefined
    error.json = json
  }
  if (error instanceof StreamClosedError) {
    Object.assign(error, { streamClosed: true })
  }
  if (cause !== undefined) {
    error.cause = cause
  }
  Error.captureStackTrace?.(error, fromNative)
  return error
}

backend.setErrorFactory(fromNative)

function parsed(body: string | undefined, headers: Record<string, string> | undefined): object | undefined {
  if (body === undefined || !isJson(headers?.["content-type"])) {
    return undefined
  }
  try {
    return JSON.parse(body) as object
  } catch {
    return undefined
  }
}

/** Asks for JSON first where the answer says that it is: mocks may have nothing else. */
async function bodyOf(response: Response): Promise<{ text?: string; json?: object }> {
  if (response.bodyUsed || response.body === null) {
    return {}
  }
  if (!isJson(response.headers.get("content-type"))) {
    return { text: await response.text() }
  }
  const copy = typeof response.clone === "function" ? response.clone() : response
  try {
    return { json: (await copy.json()) as object }
  } catch {
    return { text: await response.text() }
  }
}

function isJson(contentType: string | null | undefined): boolean {
  return contentType?.includes("json") ?? false
}

/** What the official client calls a status, where nothing else is known of the answer. */
function codeOf(status: number): DurableStreamErrorCode {
  const codes: Record<number, DurableStreamErrorCode> = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT_SEQ",
    429: "RATE_LIMITED",
    503: "BUSY",
  }
  return codes[status] ?? "UNKNOWN"
}
