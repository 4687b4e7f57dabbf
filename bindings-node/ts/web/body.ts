/** Bodies of answers, in memory of the page's that is used again. */
import type { Exchange } from "../backend.js"

/** How the WebAssembly hears that a body has more. */
interface Keeping {
  kept(body: PageBody): Promise<boolean>
}

const LEAST = 64 * 1024
const MOST = 1024 * 1024

/** What bodies before left: that of an answer, and of the one that was asked for ahead. Larger ones are not kept. */
const spare: ArrayBuffer[] = []
const MOST_SPARE = 2

/** So much becomes text at once: memory for a longer text is new each time, at the price of decoding it. */
const DECODED = 256 * 1024

/** Reads a body, and tells of each piece. The core leaves it here, or takes what there is. */
export async function carryBody(stream: ReadableStream<Uint8Array>, exchange: Exchange): Promise<void> {
  const body = new PageBody(stream)
  while (await body.read()) {
    if (!(await (exchange as unknown as Keeping).kept(body))) {
      await body.cancel()
      return
    }
  }
}

/**
 * What has come of a body, and was not taken. Memory that is new for each piece would cost a page more time than what is in
 * it, and so would a way into the WebAssembly and out again.
 */
class PageBody {
  readonly #source: ReadableStreamDefaultReader<Uint8Array>
  readonly #byob: ReadableStreamBYOBReader | undefined
  #memory = spare.pop() ?? new ArrayBuffer(LEAST)
  #length = 0
  #ended = false
  /** Whether the last piece filled all there was: more than that comes at once. */
  #filled = false

  constructor(stream: ReadableStream<Uint8Array>) {
    // Older browsers have streams that bring memory of their own, and so may what somebody has put in the place of `fetch`.
    const reader = readerOf(stream)
    this.#source = reader as ReadableStreamDefaultReader<Uint8Array>
    this.#byob = typeof ReadableStreamBYOBReader === "function" && reader instanceof ReadableStreamBYOBReader ? reader : undefined
  }

  get length(): number {
    return this.#length
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#memory, 0, this.#length)
  }

  clear(): void {
    this.#length = 0
    if (this.#ended) {
      this.#giveBack()
    }
  }

  /** What it says, if it is JSON in UTF-8. */
  parse(): unknown {
    // A mark at the beginning is no JSON, and what is no UTF-8 is not repaired.
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
    const bytes = this.bytes()
    let text = ""
    try {
      for (let at = 0; at < bytes.length; at += DECODED) {
        text += decoder.decode(bytes.subarray(at, at + DECODED), { stream: true })
      }
      return JSON.parse(text + decoder.decode())
    } catch {
      return undefined
    }
  }

  /** Adds the next piece; `false` at the end. */
  async read(): Promise<boolean> {
    const done = await (this.#byob ? this.#readInto(this.#byob) : this.#readCopied())
    this.#ended = done
    if (done && this.#length === 0) {
      this.#giveBack()
    }
    return !done
  }

  cancel(): Promise<void> {
    return this.#source.cancel()
  }

  async #readInto(byob: ReadableStreamBYOBReader): Promise<boolean> {
    this.#reserve(this.#filled ? MOST : 1)
    const room = new Uint8Array(this.#memory, this.#length)
    const { length } = room
    const { done, value } = await byob.read(room)
    // It is gone with a stream that was cancelled.
    this.#memory = value?.buffer ?? new ArrayBuffer(0)
    this.#length += value?.length ?? 0
    this.#filled = value?.length === length
    return done
  }

  async #readCopied(): Promise<boolean> {
    const { done, value } = await this.#source.read()
    if (value !== undefined) {
      this.#reserve(value.length)
      new Uint8Array(this.#memory).set(value, this.#length)
      this.#length += value.length
    }
    return done
  }

  #reserve(room: number): void {
    if (this.#memory.byteLength - this.#length < room) {
      const larger = new ArrayBuffer(Math.max(MOST, 2 * this.#length, this.#length + room))
      new Uint8Array(larger).set(this.bytes())
      this.#memory = larger
    }
  }

  #giveBack(): void {
    if (spare.length < MOST_SPARE && this.#memory.byteLength <= 2 * MOST) {
      spare.push(this.#memory)
    }
    this.#memory = new ArrayBuffer(0)
  }
}

function readerOf(stream: ReadableStream<Uint8Array>): ReadableStreamDefaultReader<Uint8Array> | ReadableStreamBYOBReader {
  try {
    return stream.getReader({ mode: "byob" })
  } catch {
    return stream.getReader()
  }
}
