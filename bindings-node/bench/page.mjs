// What `browser.mjs` measures, in the page: it asks for one task after the other, and tells what came of each.

/** By name: times in ms. */
const measures = {
  async "catch-up, in batches"(client, { full, count }) {
    const start = performance.now()
    // Another address each time: what the browser has in its cache is not what is measured.
    const response = await client.stream({ url: `${full}?read=${crypto.randomUUID()}`, live: true })
    let seen = 0
    // Not `closed`: the official client's is settled before the last batch is handed over.
    await new Promise((resolve) => {
      response.subscribeJson(({ items }) => {
        seen += items.length
        if (seen === count) resolve()
      })
    })
    const time = performance.now() - start
    response.cancel()
    return [time]
  },
  async latency(client, { live, latencies }) {
    const response = await client.stream({ url: live, offset: "now", live: "sse" })
    let arrived
    response.subscribeJson(({ items }) => void (items.length > 0 && arrived?.()))
    const times = []
    for (let number = 0; number < latencies; number += 1) {
      const next = new Promise((resolve) => (arrived = resolve))
      const start = performance.now()
      await fetch(live, { method: "POST", headers: { "content-type": "application/json" }, body: String(number) })
      await next
      times.push(performance.now() - start)
    }
    response.cancel()
    return times
  },
}

export async function run(clients) {
  for (;;) {
    const task = await (await fetch("/next")).json()
    if (task === null) {
      return
    }
    const outcome = await measures[task.measure](clients[task.client], task).then(
      (times) => ({ times }),
      (error) => ({ error: String(error) }),
    )
    await fetch("/outcome", { method: "POST", body: JSON.stringify(outcome) })
  }
}
