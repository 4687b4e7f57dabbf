/**
 * Durable Streams you can trust: resumable, exactly-once streams over plain HTTP. Every name of `@durable-streams/client`
 * is here with the same meaning; what goes beyond it is in `docs/node.md`.
 */

export { CheckpointFile, CheckpointStorage } from "./checkpoints.js"
export type { Checkpoint, CheckpointStore, KeyValues } from "./checkpoints.js"
export * from "./constants.js"
export type { Delivery } from "./delivery.js"
export {
  AlreadyClosedError,
  BadRequestError,
  BufferFullError,
  ContentTypeConflictError,
  DurableStreamError,
  FetchBackoffAbortError,
  FetchError,
  ForbiddenError,
  InternalError,
  InvalidArgumentError,
  InvalidOffsetError,
  InvalidSignalError,
  InvalidSignatureError,
  LeaseLostError,
  MissingStreamUrlError,
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
} from "./errors.js"
export type { BatchFailure, DurableStreamErrorCode } from "./errors.js"
export { BackoffDefaults, createFetchWithBackoff, createFetchWithConsumedBody } from "./fetch.js"
export { DurableStream } from "./handle.js"
export { asAsyncIterableReadableStream } from "./iterable.js"
export type { ReadableStreamAsyncIterable } from "./iterable.js"
export { IdempotentProducer } from "./producer.js"
export type { StreamResponse } from "./response.js"
export { stream } from "./stream.js"
export type * from "./types.js"
export { _resetHttpWarningForTesting, warnIfUsingHttpInBrowser } from "./warning.js"
export type { WritableOptions } from "./writable.js"
