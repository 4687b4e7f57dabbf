// Builds the part of the package that runs in browsers, of what `cargo xtask web` has compiled:
// `node scripts/web.mjs FOLDER`, where FOLDER holds what wasm-bindgen wrote.
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"

import { build } from "esbuild"

/** What a page downloads at most, gzipped: the module, and the script over it. */
const MOST_KIB = 120

/** What all engines have that have top-level await, and the compiler uses. */
const FEATURES = ["bulk-memory", "bulk-memory-opt", "multivalue", "mutable-globals", "nontrapping-float-to-int", "reference-types", "sign-ext"]

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const require = createRequire(import.meta.url)
const glue = resolve(process.argv[2], "everstream_web.js")
const compiled = resolve(process.argv[2], "everstream_web_bg.wasm")
const shortGlue = resolve(process.argv[2], "everstream.js")
const optimised = resolve(process.argv[2], "everstream.wasm")
const out = join(root, "dist", "web")

if (!isNewer(optimised, compiled)) {
  const wasmOpt = join(dirname(require.resolve("binaryen/package.json")), "bin", "wasm-opt")
  const features = FEATURES.map((it) => `--enable-${it}`)
  const args = ["-Os", "--minify-imports-and-exports-and-modules", ...features, compiled, "-o", optimised]
  // Names of what crosses become short ones, on both sides.
  const { imports, exports } = JSON.parse(execFileSync(process.execPath, [wasmOpt, ...args], { stdio: ["ignore", "pipe", "inherit"] }))
  writeFileSync(shortGlue, renamed(readFileSync(glue, "utf8"), imports, exports))
}
mkdirSync(out, { recursive: true })
copyFileSync(optimised, join(out, "everstream.wasm"))

await script("index", { module: "inlined" })
await script("url", { module: "fetched" })
await script("workerd", { module: "given", wasm: "./everstream.wasm" })
await script("edge-light", { module: "given", wasm: "./everstream.wasm?module" })

const size = (name) => gzipSync(readFileSync(join(out, name)), { level: 9 }).length / 1024
const [wasm, face] = [size("everstream.wasm"), size("url.mjs")]
const kib = (number) => `${number.toFixed(1)} KiB`
console.log(`gzipped: module ${kib(wasm)} + script ${kib(face)} = ${kib(wasm + face)}; in one file ${kib(size("index.mjs"))}`)
if (wasm + face > MOST_KIB) {
  throw new Error(`a page is to download at most ${MOST_KIB} KiB`)
}

/** One entry: the face over the WebAssembly, and where the module comes from. `wasm`: a file that the platform imports. */
async function script(name, { module, wasm }) {
  const aliases = {
    "everstream-web-glue": shortGlue,
    "everstream-web-module": join(root, "ts", "web", `module-${module}.ts`),
  }
  const parts = {
    name: "parts",
    setup({ onResolve }) {
      onResolve({ filter: /^\.\.?\/backend\.js$/ }, () => ({ path: join(root, "ts", "web", "backend.ts") }))
      onResolve({ filter: /^everstream-web-/ }, ({ path }) => ({ path: aliases[path] }))
      onResolve({ filter: /^everstream-wasm$/ }, () => (wasm ? { path: wasm, external: true } : { path: optimised }))
    },
  }
  await build({
    entryPoints: [join(root, "ts", "index.ts")],
    outfile: join(out, `${name}.mjs`),
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    target: "es2022",
    loader: { ".wasm": "binary" },
    legalComments: "none",
    plugins: [parts],
  })
  writeFileSync(join(out, `${name}.d.mts`), `export * from "../index.js"\n`)
}

/** What wasm-bindgen wrote, with the names that wasm-opt has given to what the module imports and exports. */
function renamed(glue, imports, exports) {
  const [[module]] = imports
  const short = new Map(imports.map(([, long, name]) => [long, name]))
  const exported = new Map(exports)
  return glue
    .replaceAll(`"${module}": import0`, "a: import0")
    .replaceAll(/^( {8})(\w+): function/gm, (_, indent, long) => `${indent}${short.get(long) ?? long}: function`)
    .replaceAll(/\bwasm\.(\w+)/g, (_, long) => `wasm.${exported.get(long) ?? long}`)
}

function isNewer(file, than) {
  const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  return changed(file) > changed(than)
}
