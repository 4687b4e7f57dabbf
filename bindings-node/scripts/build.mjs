// Builds the package from its sources: the native add-on, then the TypeScript over it. Runs in a checkout only; the
// published package has what this makes.
//
// EVERSTREAM_PROFILE=dev builds the add-on without optimisation; EVERSTREAM_TARGET names another platform.
import { execFileSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { build } from "esbuild"

import { buildNative } from "./native.mjs"

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const require = createRequire(import.meta.url)

if (!process.argv.includes("--typescript-only")) {
  await buildNative(root, { profile: process.env.EVERSTREAM_PROFILE ?? "release", target: process.env.EVERSTREAM_TARGET })
}

const tsc = join(dirname(require.resolve("typescript/package.json")), "bin", "tsc")
execFileSync(process.execPath, [tsc, "-p", "."], { cwd: root, stdio: "inherit" })

// One module in memory, however it is loaded: the ESM entry names what the CommonJS one exports.
for (const entry of ["index", "subscriptions/index", "testing/index"]) {
  const file = join(root, "dist", entry)
  const names = Object.keys(require(`${file}.js`)).sort()
  writeFileSync(`${file}.mjs`, `export {\n${names.map((name) => `  ${name},\n`).join("")}} from "./index.js"\n`)
  writeFileSync(`${file}.d.mts`, `export * from "./index.js"\n`)
}

// Over whatever `everstream` is where it runs: the native one, or that of browsers.
for (const entry of ["react", "store"]) {
  writeFileSync(join(root, "dist", `${entry}.d.mts`), `export * from "./${entry}.js"\n`)
  await build({
    entryPoints: [join(root, "ts", `${entry}.ts`)],
    outfile: join(root, "dist", `${entry}.mjs`),
    bundle: true,
    format: "esm",
    target: "es2022",
    external: ["react"],
    plugins: [
      {
        name: "everstream",
        setup({ onResolve }) {
          onResolve({ filter: /^\.\/index\.js$/ }, () => ({ path: "everstream", external: true }))
          // One class, by whichever name it is imported.
          onResolve({ filter: /^\.\/store\.js$/ }, () => ({ path: "./store.mjs", external: true }))
        },
      },
    ],
  })
}
