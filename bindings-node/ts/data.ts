/** What the caller hands over to be stored, as the core takes it: text, or bytes. */
import { DurableStreamError } from "./errors.js"

/** Text and bytes as they are; any other value as JSON text. */
export function stored(value: unknown): { data: string | Uint8Array; json: boolean } {
  if (typeof value === "string" || value instanceof Uint8Array) {
    return { data: value, json: false }
  }
  if (ArrayBuffer.isView(value)) {
    return { data: new Uint8Array(value.buffer, value.byteOffset, value.byteLength), json: false }
  }
  if (value instanceof ArrayBuffer) {
    return { data: new Uint8Array(value), json: false }
  }
  return { data: jsonText(value), json: true }
}

/** The JSON form of a value. */
export function jsonText(value: unknown): string {
  let text: string | undefined
  let cause: unknown
  try {
    text = JSON.stringify(value)
  } catch (error) {
    cause = error
  }
  if (text === undefined) {
    const refused = new DurableStreamError(`append: ${describe(value)} has no JSON form`, "BAD_REQUEST", 400)
    refused.cause = cause
    throw refused
  }
  return text
}

function describe(value: unknown): string {
  return value === null ? "null" : typeof value === "object" ? "the object" : `a value of type ${typeof value}`
}

/** The initial content of a stream. */
export async function content(body: unknown): Promise<string | Uint8Array | undefined> {
  if (body === undefined) {
    return undefined
  }
  if (body instanceof Blob || body instanceof FormData || body instanceof ReadableStream || body instanceof URLSearchParams) {
    return new Uint8Array(await new Response(body).arrayBuffer())
  }
  return stored(body).data
}
