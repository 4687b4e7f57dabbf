/** The platform compiles the module before the script runs, as Workers do, which compile nothing later. */
import { initSync } from "everstream-web-glue"
import module from "everstream-wasm"

initSync({ module: module as unknown as WebAssembly.Module })
