/** The module is a part of the script: nothing else has to be found, and nobody has to wait for it. */
import { initSync } from "everstream-web-glue"
import bytes from "everstream-wasm"

initSync({ module: new WebAssembly.Module(bytes) })
