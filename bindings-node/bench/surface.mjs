/** What ours and the official client do under the same names. */

const contentType = "application/json"

/**
 * The functions that measurements call. `live` is what makes a read end at the tail, and `items` gives the messages of a
 * response one by one.
 */
export function surface({ DurableStream, IdempotentProducer, stream }, { live, items }) {
  return {
    async produce(url, messages) {
      const producer = new IdempotentProducer(new DurableStream({ url, contentType }), "bench")
      for (const message of messages) {
        producer.append(message)
      }
      await producer.flush()
      await producer.detach()
    },

    appender(url) {
      const handle = new DurableStream({ url, contentType })
      return (message) => handle.append(message)
    },

    async readJson(url) {
      return (await stream({ url, live })).json()
    },

    async iterJson(url, take) {
      await each((await stream({ url, live })).jsonStream(), take)
    },

    async readBytes(url) {
      return (await stream({ url, live })).body()
    },

    /** Follows a stream until it is told that this is enough. */
    async tail(url, take) {
      await each(items(await stream({ url, live: "sse" })), take)
    },
  }
}

async function each(items, take) {
  for await (const item of items) {
    if (take(item)) {
      return
    }
  }
}
