/** The module is a file beside the script, compiled while it arrives. */
import { initSync } from "everstream-web-glue"

const address = new URL("./everstream.wasm", import.meta.url)
const response = await fetch(address)
if (!response.ok) {
  throw new Error(`everstream: ${address.href} answers ${response.status}`)
}
// Not all servers know the media type.
const module =
  response.headers.get("content-type") === "application/wasm"
    ? await WebAssembly.compileStreaming(response)
    : await WebAssembly.compile(await response.arrayBuffer())
initSync({ module })
