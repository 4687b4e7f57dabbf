import { execFileSync } from "node:child_process"
import { createRequire } from "node:module"

import { expect, it } from "vitest"

const root = new URL("..", import.meta.url)

function run(...args: string[]): string {
  return execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" }).trim()
}

it("import and require give the same module", () => {
  const script = `
    import { createRequire } from "node:module"
    import * as imported from "everstream"
    import * as subscriptions from "everstream/subscriptions"
    import * as testing from "everstream/testing"
    const require = createRequire(import.meta.url)
    const required = require("everstream")
    const names = Object.keys(required)
    if (names.length === 0 || names.some((name) => imported[name] !== required[name])) throw new Error("two modules")
    if (testing.Server !== require("everstream/testing").Server) throw new Error("two testing modules")
    if (subscriptions.Worker !== require("everstream/subscriptions").Worker) throw new Error("two modules of subscriptions")
    console.log(names.filter((name) => !(name in imported)).length)
  `
  expect(run("--input-type=module", "--eval", script)).toBe("0")
})

it("has every name of the official client", () => {
  // A package finds itself by its name from its own files only.
  const require = createRequire(new URL("package.json", root))
  const ours = Object.keys(require("everstream") as object)
  const official = Object.keys(require("@durable-streams/client") as object)
  expect(official.filter((name) => !ours.includes(name))).toEqual([])
})
