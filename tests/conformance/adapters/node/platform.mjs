/** Who answers here. */
import { readFileSync } from "node:fs"

const manifest = new URL("../../../../bindings-node/package.json", import.meta.url)

export const clientName = "everstream-node"
export const clientVersion = JSON.parse(readFileSync(manifest, "utf8")).version
