/** Carries out commands, one JSON object a line; one is open at a time. */
import { benchmark } from "./benchmark.mjs"
import { DurableStream, DurableStreamError, IdempotentProducer } from "./everstream.mjs"
import {
  backoffOf,
  batchOptions,
  dataOf,
  described,
  encode,
  failure,
  initialized,
  NotSupported,
  parseCommand,
  runOptions,
  Session,
  stayingOptions,
  success,
  unparsable,
} from "./protocol.mjs"
import { commands } from "./platform.mjs"
import { read } from "./reading.mjs"

const DEFAULT_CONTENT_TYPE = "application/octet-stream"

let session = new Session()

const COMMANDS = {
  ...commands(() => session),

  async init(command) {
    await releaseProducers()
    session.hooks.get("worker")?.close()
    session = new Session(command.serverUrl)
    return initialized(command)
  },

  async shutdown(command) {
    await releaseProducers()
    return success(command)
  },

  async create(command) {
    const { contentType = DEFAULT_CONTENT_TYPE, ttlSeconds, expiresAt, closed, data, path } = command
    const { forkFrom, forkOffset, forkSubOffset } = command
    const handle = await DurableStream.create({
      ...session.options(command),
      contentType,
      ttlSeconds,
      expiresAt,
      closed,
      body: data,
      forkFrom,
      forkOffset,
      forkSubOffset,
    })
    session.contentTypes.set(path, handle.contentType)
    return success(command, { status: handle.created ? 201 : 200, offset: handle.offset })
  },

  async connect(command) {
    const handle = await DurableStream.connect(session.options(command))
    session.contentTypes.set(command.path, handle.contentType)
    return success(command, { status: 200, offset: handle.offset })
  },

  async append(command) {
    const { seq, plain = false } = command
    const { options, report } = session.sent(command)
    // Some cases lose the answer to an append and want it stored once all the same; `seq` excludes that.
    const idempotent = seq === undefined && !plain
    const handle = new DurableStream({ ...session.options(command), ...options, idempotent })
    const result = await handle.append(dataOf(command), seq === undefined ? undefined : { seq: String(seq) })
    const { offset, duplicate } = result
    return success(command, { status: 200, offset: offset ?? undefined, duplicate: duplicate || undefined, ...report })
  },

  async appends(command) {
    const handle = new DurableStream(session.options(command))
    const issued = command.items.map((item) => settled(handle.append(item)))
    return success(command, { results: await Promise.all(issued) })
  },

  async close(command) {
    const { data, contentType } = command
    const { finalOffset } = await new DurableStream(session.options(command)).close({ body: data, contentType })
    return success(command, { finalOffset })
  },

  async head(command) {
    const head = await new DurableStream(session.options(command)).head()
    const { offset, contentType, streamClosed, ttlSeconds, expiresAt, etag } = head
    session.contentTypes.set(command.path, contentType)
    return success(command, { status: 200, offset, contentType, streamClosed, ttlSeconds, expiresAt, etag })
  },

  async delete(command) {
    await new DurableStream(session.options(command)).delete()
    session.contentTypes.delete(command.path)
    return success(command, { status: 200 })
  },

  async read(command) {
    const { options, report } = session.sent(command)
    return { ...(await read(command, { ...session.options(command), ...options })), ...report }
  },

  async "idempotent-append"(command) {
    const producer = stayingProducer(command)
    const delivery = producer.append(command.data)
    await producer.flush()
    const { offset, duplicate } = await delivery
    const producerSeq = producer.nextSeq - 1
    return success(command, { status: 200, offset: offset ?? undefined, duplicate, producerSeq })
  },

  async "idempotent-append-batch"(command) {
    const handle = new DurableStream(session.options(command))
    const producer = new IdempotentProducer(handle, command.producerId, batchOptions(command))
    for (const item of command.items) {
      producer.append(item.data ?? item)
    }
    await producer.flush()
    await producer.detach()
    return success(command, { status: 200 })
  },

  async "idempotent-close"(command) {
    const { finalOffset } = await stayingProducer(command).close(command.data)
    return success(command, { status: 200, finalOffset })
  },

  async "idempotent-detach"(command) {
    const key = producerKey(command)
    await session.producers.get(key)?.detach()
    session.producers.delete(key)
    return success(command, { status: 200 })
  },

  async producer(command) {
    const handle = new DurableStream(session.options(command))
    const producer = new IdempotentProducer(handle, command.producerId ?? "producer", runOptions(command))
    const outcomes = []
    const deliveries = []
    for (const action of command.actions) {
      outcomes.push(await settled(act(producer, action, deliveries)))
    }
    // What was not stored is told message by message.
    await settled(producer.detach())
    const { epoch, nextSeq } = producer
    return success(command, { outcomes, deliveries: await Promise.all(deliveries.map(settled)), epoch, nextSeq })
  },

  async validate(command) {
    const { target, ...given } = command.target
    const options = { url: `${session.serverUrl}/validate`, contentType: "text/plain" }
    if (target === "retry-options") {
      new DurableStream({ ...options, backoffOptions: backoffOf(given) })
    } else if (target === "idempotent-producer") {
      const { producerId = "validate" } = given
      await new IdempotentProducer(new DurableStream(options), producerId, runOptions(given)).detach()
    } else {
      throw new NotSupported(`nothing to validate: ${target}`)
    }
    return success(command)
  },

  async benchmark(command) {
    return benchmark(command, (operation) => session.options(operation))
  },

  async "set-dynamic-header"(command) {
    session.setDynamic(command)
    return success(command)
  },

  async "set-dynamic-param"(command) {
    session.setDynamic(command)
    return success(command)
  },

  async "clear-dynamic"(command) {
    session.clearDynamic()
    return success(command)
  },
}

function producerKey({ path, producerId, epoch = 0 }) {
  return JSON.stringify([path, producerId, epoch])
}

/** The producer that stays for a path, id and epoch. */
function stayingProducer(command) {
  const key = producerKey(command)
  let producer = session.producers.get(key)
  if (producer === undefined) {
    const handle = new DurableStream(session.options(command))
    producer = new IdempotentProducer(handle, command.producerId, stayingOptions(command))
    session.producers.set(key, producer)
  }
  return producer
}

async function releaseProducers() {
  for (const producer of session.producers.values()) {
    await producer.detach().catch((error) => {
      if (!(error instanceof DurableStreamError)) {
        throw error
      }
    })
  }
  session.producers.clear()
}

/** One action of a producer; an append adds its delivery to the others. */
async function act(producer, action, deliveries) {
  switch (action.do) {
    case "append": {
      const { delivery } = await producer.send(dataOf(action))
      deliveries.push(delivery)
      return action.wait ? delivery : undefined
    }
    case "close": {
      const { finalOffset } = await producer.close(action.data === undefined ? undefined : dataOf(action))
      return { offset: finalOffset, closed: true }
    }
    case "flush":
      return producer.flush()
    case "restart":
      return producer.restart()
    case "detach":
      return producer.detach()
    default:
      throw new NotSupported(`unknown action: ${action.do}`)
  }
}

/** What became of a call, as one of many in a result. */
async function settled(call) {
  try {
    const { offset, duplicate, closed, messages, duplicates } = (await call) ?? {}
    return { ok: true, offset: offset ?? undefined, duplicate, closed, messages, duplicates }
  } catch (error) {
    return described(error)
  }
}

async function answer(command) {
  const carryOut = COMMANDS[command.type]
  try {
    if (carryOut === undefined) {
      throw new NotSupported(`unknown command: ${command.type}`)
    }
    return await carryOut(command)
  } catch (error) {
    return failure(command, error)
  }
}

/** Carries out the command in a line; gives the line that answers it, and whether it was the last one. */
export async function answerLine(line) {
  let command
  try {
    command = parseCommand(line)
  } catch (error) {
    return { answered: encode(unparsable(error)), last: false }
  }
  const result = await answer(command)
  return { answered: encode({ ...result, id: command.id }), last: command.type === "shutdown" }
}
