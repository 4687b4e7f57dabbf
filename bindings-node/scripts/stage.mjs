// Lays the packages out as they are published: node scripts/stage.mjs FOLDER makes FOLDER/everstream, and
// FOLDER/platform with the add-on that was built for this machine.
import { execFileSync } from "node:child_process"
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { NapiCli, parseTriple } from "@napi-rs/cli"

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const [folder] = process.argv.slice(2)
const main = join(folder, "everstream")

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
for (const name of [...manifest.files, "README.md", "LICENSE"]) {
  cpSync(join(root, name), join(main, name), { recursive: true })
}
const host = execFileSync("rustc", ["-vV"], { encoding: "utf8" }).match(/^host: (.+)$/m)[1]
const { platformArchABI } = parseTriple(host)

// A package for each platform, of which npm takes the one that fits.
writeFileSync(join(main, "package.json"), JSON.stringify(manifest, null, 2))
await new NapiCli().createNpmDirs({ cwd: main, npmDir: "npm" })
manifest.optionalDependencies = Object.fromEntries(
  readdirSync(join(main, "npm")).map((platform) => [`${manifest.name}-${platform}`, manifest.version]),
)
// Building is for checkouts.
delete manifest.scripts
delete manifest.devDependencies
writeFileSync(join(main, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`)

const platform = join(folder, "platform")
cpSync(join(main, "npm", platformArchABI), platform, { recursive: true })
rmSync(join(main, "npm"), { recursive: true })
const addon = `${manifest.napi.binaryName}.${platformArchABI}.node`
cpSync(join(root, addon), join(platform, addon))
