// As written for the official client: with `@durable-streams/client` in place of `everstream` it does the same.
import { stream } from "everstream"
import { useEffect, useState } from "react"

/** The last order. */
export function Tail({ url }) {
  const [last, setLast] = useState()

  useEffect(() => {
    const controller = new AbortController()
    const read = async () => {
      const response = await stream({ url, live: true, signal: controller.signal })
      response.subscribeJson(({ items }) => {
        if (items.length > 0) setLast(items.at(-1))
      })
    }
    read().catch((error) => {
      if (!controller.signal.aborted) throw error
    })
    return () => controller.abort()
  }, [url])

  return <output>{last === undefined ? "none yet" : JSON.stringify(last)}</output>
}
