import { StrictMode } from "react"
import { createRoot } from "react-dom/client"

import { Orders } from "./orders.jsx"
import { Tail } from "./tail.jsx"

// Another stream than that of the quick start: `?stream=http://…`.
const url = new URLSearchParams(location.search).get("stream") ?? "http://127.0.0.1:4437/v1/stream/orders"

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Orders url={url} />
    <Tail url={url} />
  </StrictMode>,
)
