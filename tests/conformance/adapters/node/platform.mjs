/** Who answers here, and what only Node can. */
import { readFileSync } from "node:fs"

export { commands } from "./hooks.mjs"

const manifest = new URL("../../../../bindings-node/package.json", import.meta.url)

export const clientName = "everstream-node"
export const clientVersion = JSON.parse(readFileSync(manifest, "utf8")).version
export const features = ["subscriptions"]
