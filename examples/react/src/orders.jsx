import { useStream } from "everstream/react"

/** All orders, old and new. */
export function Orders({ url }) {
  const { items, state, error, retry } = useStream(url)
  return (
    <section>
      <h1>Orders ({state})</h1>
      {error && <button onClick={retry}>{error.message} - try again</button>}
      <ul>
        {items.map((order, number) => (
          <li key={number}>{JSON.stringify(order)}</li>
        ))}
      </ul>
    </section>
  )
}
