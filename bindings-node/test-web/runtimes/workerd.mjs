/** Runs the worker in workerd, the runtime of Cloudflare's Workers, bundled as their tools do it; prints its answer. */
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"

import { build } from "esbuild"
import { Miniflare } from "miniflare"

const [stream] = process.argv.slice(2)
const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const { outputFiles } = await build({
  entryPoints: [here("worker.mjs")],
  bundle: true,
  format: "esm",
  conditions: ["workerd", "worker", "browser"],
  // Not by the paths of the project around this folder.
  tsconfigRaw: "{}",
  // Workers compile nothing at run time: the module is uploaded as one.
  external: ["*.wasm"],
  write: false,
})
const workers = new Miniflare({
  compatibilityDate: "2026-01-01",
  modulesRoot: "/",
  modules: [
    { type: "ESModule", path: "/worker.mjs", contents: outputFiles[0].text },
    {
      type: "CompiledWasm",
      path: "/everstream.wasm",
      contents: await readFile(here("node_modules/everstream/dist/web/everstream.wasm")),
    },
  ],
})
const answer = await workers.dispatchFetch(`http://worker/?stream=${encodeURIComponent(stream)}`)
console.log(await answer.text())
await workers.dispose()
