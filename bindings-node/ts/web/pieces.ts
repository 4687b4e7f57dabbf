/** Bodies of answers, read into memory that is used again. */

/** What is needed of a reader. */
export type Pieces = Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">

const LEAST = 64 * 1024
const MOST = 1024 * 1024

/** What the body before left. */
let spare: ArrayBuffer | undefined

/**
 * The pieces of a body, each good until the next one is asked for: then its memory takes that one. Memory that is new for
 * each piece would cost a page more time than what is in it.
 */
export function piecesOf(body: ReadableStream<Uint8Array>): Pieces {
  let reader: ReadableStreamBYOBReader
  try {
    reader = body.getReader({ mode: "byob" })
  } catch {
    // Older browsers have streams that bring memory of their own, and so may what somebody has put in the place of `fetch`.
    return body.getReader()
  }
  if (typeof ReadableStreamBYOBReader !== "function" || !(reader instanceof ReadableStreamBYOBReader)) {
    return reader as unknown as Pieces
  }
  let memory = spare ?? new ArrayBuffer(LEAST)
  spare = undefined
  return {
    async read() {
      const { done, value } = await reader.read(new Uint8Array(memory))
      if (value !== undefined) {
        memory = value.byteLength === value.buffer.byteLength && value.byteLength < MOST ? new ArrayBuffer(MOST) : value.buffer
      }
      if (done) {
        spare = memory
        return { done, value: undefined }
      }
      return { done, value }
    },
    cancel: (reason) => reader.cancel(reason),
  }
}
