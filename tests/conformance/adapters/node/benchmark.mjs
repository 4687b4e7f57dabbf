/** The measurements of the official protocol. */
import { DurableStream, IdempotentProducer } from "./everstream.mjs"
import { isJson, NotSupported, success } from "./protocol.mjs"

const BYTES = "application/octet-stream"
const STAR = 42

/** Each is told how to make a handle and what to do; gives the bytes and messages that passed. */
const OPERATIONS = {
  async append(options, { size }) {
    const data = new Uint8Array(size).fill(STAR)
    const handle = new DurableStream(options)
    return [() => handle.append(data), () => [size, 1]]
  },

  async create(options, { contentType = BYTES }) {
    return [() => DurableStream.create({ ...options, contentType }), () => [0, 0]]
  },

  async read(options, { offset }) {
    const handle = new DurableStream(options)
    return [async () => (await handle.stream({ offset, live: false })).body(), (data) => [data.length, 0]]
  },

  async roundtrip(options, { size, live = "long-poll", contentType = BYTES }) {
    // A JSON stream takes JSON: a string of the size asked for.
    const text = isJson(contentType) ? `"${"*".repeat(size - 2)}"` : "*".repeat(size)
    const measured = async () => {
      const handle = await DurableStream.create({ ...options, contentType })
      const { offset } = await handle.head()
      const response = await handle.stream({ offset, live })
      const [received] = await Promise.all([response[Symbol.asyncIterator]().next(), handle.append(text)])
      response.cancel()
      return received.value.length
    }
    return [measured, (received) => [text.length + received, 1]]
  },

  async throughput_append(options, { count, size }) {
    const data = new Uint8Array(size).fill(STAR)
    const measured = async () => {
      const handle = await DurableStream.create({ ...options, contentType: BYTES })
      // Runs share the stream: an id of its own keeps one from being taken for a repeat of the one before.
      const producer = new IdempotentProducer(handle, crypto.randomUUID(), { deliveryTimeoutMs: 50_000 })
      for (let sent = 0; sent < count; sent += 1) {
        producer.append(data)
      }
      await producer.flush()
      await producer.detach()
    }
    return [measured, () => [count * size, count]]
  },

  async throughput_read(options) {
    const handle = new DurableStream(options)
    const measured = async () => (await handle.stream({ live: false })).json()
    return [measured, (items) => [items.reduce((sum, item) => sum + JSON.stringify(item).length, 0), items.length]]
  },
}

export async function benchmark(command, options) {
  const { operation, iterationId } = command
  const prepare = OPERATIONS[operation.op]
  if (prepare === undefined) {
    throw new NotSupported(`unknown benchmark: ${operation.op}`)
  }
  const [measured, count] = await prepare(options(operation), operation)
  const start = performance.now()
  const result = await measured()
  const durationNs = String(Math.round((performance.now() - start) * 1e6))
  const [bytesTransferred, messagesProcessed] = count(result)
  return success(command, { iterationId, durationNs, metrics: { bytesTransferred, messagesProcessed } })
}
