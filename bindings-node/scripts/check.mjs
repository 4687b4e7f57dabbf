// Checks the types of the tests, and the package as it would be published: what is in it, and that its types are found
// by everything that imports or requires it.
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const folder = mkdtempSync(join(tmpdir(), "everstream-"))
const options = { cwd: root, stdio: "inherit", shell: process.platform === "win32" }
try {
  for (const project of ["test", "test-web", join("ts", "web")]) {
    execFileSync("npx", ["tsc", "--noEmit", "-p", project], options)
  }
  // What is built is there; packing is not to build it again.
  const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
    ...options,
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  })
  const tarball = join(folder, JSON.parse(packed)[0].filename)
  execFileSync("npx", ["publint", "--strict", tarball], options)
  // What is for pages alone is ESM alone.
  const forPages = ["--exclude-entrypoints", "web", "web/url"]
  execFileSync("npx", ["attw", "--quiet", "--profile", "node16", tarball, ...forPages], options)
} finally {
  rmSync(folder, { recursive: true })
}
