/** Bundles the page with webpack, with its defaults; prints the script. */
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

import webpack from "webpack"

const context = fileURLToPath(new URL(".", import.meta.url))
const path = await mkdtemp(join(tmpdir(), "everstream-webpack-"))
try {
  const output = { path, filename: "page.js" }
  const stats = await promisify(webpack)({ mode: "production", context, entry: "./page.mjs", output })
  if (stats.hasErrors()) throw new Error(stats.toString())
  process.stdout.write(await readFile(join(path, "page.js")))
} finally {
  await rm(path, { recursive: true })
}
