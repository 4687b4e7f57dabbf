import type { Delivery as NativeDelivery, Taken } from "./backend.js"
import { Delivery, type Fate } from "./delivery.js"
import type { IdempotentAppendResult } from "./types.js"

/** Longer texts cross alone: joining them saves nothing. */
const LONGEST = 4096
/** Lines cross at this many characters, so that few wait on this side. */
const FULL = 32_768
/** How deep objects and arrays may lie in each other. */
const DEPTH = 2

const STRING = String.raw`"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[\da-fA-F]{4})[^"\\\x00-\x1f]*)*"`
const SCALAR = String.raw`${STRING}|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null`

function document(depth: number): string {
  if (depth === 0) {
    return SCALAR
  }
  const value = `(?:${document(depth - 1)})`
  const member = `${STRING}: ?${value}`
  return String.raw`${SCALAR}|\{(?:${member}(?:, ?${member})*)?\}|\[(?:${value}(?:, ?${value})*)?\]`
}

let plain: RegExp | undefined

/**
 * Whether a text is certainly one JSON document in one line, so that the core has nothing to refuse. It is tried here since
 * a call into the core costs more; what does not pass is for the core to judge, at once.
 */
export function isPlainDocument(text: string): boolean {
  plain ??= new RegExp(`^(?:${document(DEPTH)})$`)
  return plain.test(text)
}

/**
 * Messages of a JSON stream that cross into the core together: those of one turn of the event loop, as lines of text. The
 * core frames, numbers and sends them as if they had come one by one.
 */
export class Lines {
  #texts: string[] = []
  /** Of all texts. */
  #length = 0
  /** What became of them, in order, each up to a message. */
  #fates: { end: number; fate: Fate }[] = []

  /** `cross` is asked to have all lines taken now. */
  constructor(private readonly cross: () => void) {}

  /** How long a text may be that joins, where the buffer of the core has room for so many bytes. */
  static longest(maxBufferedBytes: number | undefined): number {
    // A character is up to three bytes. What the core refuses for its length must not wait here.
    return Math.min(LONGEST, (maxBufferedBytes ?? Infinity) / 4)
  }

  get isEmpty(): boolean {
    return this.#texts.length === 0
  }

  get isFull(): boolean {
    return this.#length >= FULL
  }

  /** Takes the text of a document that has no line break in it. */
  add(text: string): Delivery {
    this.#length += text.length
    return new Delivery(this, this.#texts.push(text) - 1)
  }

  /** Hands the lines over. `fate` makes one of a delivery, which is `null` where the one before goes on. */
  take(cross: (lines: string) => Taken, fate: (delivery: NativeDelivery | null) => Fate): Taken {
    const taken = cross(this.#texts.join("\n"))
    this.#texts = []
    this.#fates = taken.deliveries.map(({ delivery, end }) => ({ end, fate: fate(delivery) }))
    return taken
  }

  /** The receipt of a message. */
  receipt(message: number): Promise<IdempotentAppendResult> {
    if (this.#fates.length === 0) {
      this.cross()
    }
    // Each message has its place before one of the ends.
    return this.#fates.find(({ end }) => message < end)!.fate.receipt()
  }
}
