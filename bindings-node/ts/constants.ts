/** Names of the protocol, as the official client exports them. The core has its own; nothing here decides. */

/** The offset after the data of an answer. */
export const STREAM_OFFSET_HEADER = "Stream-Next-Offset"
/** Echoed in live requests, so that caches can join readers. */
export const STREAM_CURSOR_HEADER = "Stream-Cursor"
/** Present when an answer reaches the tail of its time. */
export const STREAM_UP_TO_DATE_HEADER = "Stream-Up-To-Date"
/** `true` on what closes a stream, and on answers of a closed one. */
export const STREAM_CLOSED_HEADER = "Stream-Closed"
/** The caller's own order of appends. */
export const STREAM_SEQ_HEADER = "Stream-Seq"
/** Sliding lifetime of a new stream, in seconds. */
export const STREAM_TTL_HEADER = "Stream-TTL"
/** Deadline of a new stream, RFC 3339. */
export const STREAM_EXPIRES_AT_HEADER = "Stream-Expires-At"
/** Who produces. */
export const PRODUCER_ID_HEADER = "Producer-Id"
/** Fencing number of a producer. */
export const PRODUCER_EPOCH_HEADER = "Producer-Epoch"
/** Number of a batch within its epoch. */
export const PRODUCER_SEQ_HEADER = "Producer-Seq"
/** Which batch the server waits for. */
export const PRODUCER_EXPECTED_SEQ_HEADER = "Producer-Expected-Seq"
/** Which batch the server got instead. */
export const PRODUCER_RECEIVED_SEQ_HEADER = "Producer-Received-Seq"
/** Where to read from. */
export const OFFSET_QUERY_PARAM = "offset"
/** How to go on at the tail. */
export const LIVE_QUERY_PARAM = "live"
/** See {@link STREAM_CURSOR_HEADER}. */
export const CURSOR_QUERY_PARAM = "cursor"
/** {@link STREAM_OFFSET_HEADER} in a control event. */
export const SSE_OFFSET_FIELD = "streamNextOffset"
/** {@link STREAM_CURSOR_HEADER} in a control event. */
export const SSE_CURSOR_FIELD = "streamCursor"
/** {@link STREAM_CLOSED_HEADER} in a control event. */
export const SSE_CLOSED_FIELD = "streamClosed"
/** Beginnings of content types that SSE carries as text; others are base64 there. */
export const SSE_COMPATIBLE_CONTENT_TYPES: ReadonlyArray<string> = ["text/", "application/json"]
/** Query parameters that belong to the protocol. */
export const DURABLE_STREAM_PROTOCOL_QUERY_PARAMS: ReadonlyArray<string> = [
  OFFSET_QUERY_PARAM,
  LIVE_QUERY_PARAM,
  CURSOR_QUERY_PARAM,
]
