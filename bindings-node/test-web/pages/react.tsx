import { StrictMode, useState } from "react"
import { createRoot } from "react-dom/client"

import { useStream } from "everstream/react"

interface Props {
  url?: string
  shown?: boolean
  live?: boolean
  keep?: number
}

window.kept = {}
window.renders = 0

function Numbers({ url, live, keep }: Props) {
  window.renders += 1
  const { items, state, error, retry } = useStream<number>(url, { live, keep, params: { page: () => "test" } })
  const code = (error as { code?: string } | undefined)?.code
  return (
    <>
      <p>{code === undefined ? state : `${state}: ${code}`}</p>
      <button onClick={retry}>again</button>
      <ul>
        {items.map((item) => (
          <li key={item}>{item}</li>
        ))}
      </ul>
    </>
  )
}

function App() {
  const [props, setProps] = useState<Props>({})
  window.show = (next) => setProps((before) => ({ ...before, ...next }))
  return props.shown === false || props.url === undefined ? null : <Numbers {...props} />
}

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <App />
  </StrictMode>,
)
