import type { DurableStream } from "./handle.js"
import { IdempotentProducer } from "./producer.js"
import type { HeadersRecord, IdempotentProducerOptions } from "./types.js"

/** Options of {@link DurableStream.writable}. */
export interface WritableOptions
  extends Pick<IdempotentProducerOptions, "lingerMs" | "maxBatchBytes" | "maxBufferedBytes" | "onError" | "signal"> {
  /** Default: a new one. */
  producerId?: string
  headers?: HeadersRecord
}

/** A sink over a producer: a chunk is written once the producer's buffer has taken it. */
export function writable(stream: DurableStream, options: WritableOptions): WritableStream<Uint8Array | string> {
  const { producerId = `writable-${crypto.randomUUID().slice(0, 8)}`, ...given } = options
  const producer = new IdempotentProducer(stream, producerId, { ...given, autoClaim: true })
  return new WritableStream<Uint8Array | string>({
    async write(chunk) {
      await producer.send(chunk)
    },
    async close() {
      await producer.close()
    },
    async abort() {
      await producer.detach()
    },
  })
}
