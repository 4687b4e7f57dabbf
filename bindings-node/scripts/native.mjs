// Builds the native add-on with cargo, in the target folder that everything else shares, and writes what belongs to it:
// its loader and its types. Both are committed.
import { execFileSync, spawnSync } from "node:child_process"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"

import { generateTypeDef, parseTriple, writeJsBinding } from "@napi-rs/cli"

const CRATE = "everstream-node"

/**
 * `profile` is one of cargo's. `target` is a triple; without it the add-on is for this machine, and shares what cargo
 * has built for tests.
 */
export async function buildNative(root, { profile, target }) {
  const cargo = (args, options) => {
    const done = spawnSync("cargo", args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28, ...options })
    if (done.status !== 0) {
      throw new Error(`cargo ${args[0]} failed`)
    }
    return done.stdout
  }
  const metadata = JSON.parse(cargo(["metadata", "--format-version", "1", "--no-deps"]))
  const types = join(metadata.target_directory, "node-types", profile)
  mkdirSync(types, { recursive: true })

  const env = { ...process.env, NAPI_TYPE_DEF_TMP_FOLDER: types }
  if (!isCurrent(join(root, "src"), join(types, CRATE))) {
    // The types are a by-product of compiling: what cargo has compiled for somebody else does not have them.
    env.NAPI_FORCE_BUILD_EVERSTREAM_NODE = String(Date.now())
  }
  const args = ["build", "--package", CRATE, "--profile", profile, "--locked", "--message-format=json-render-diagnostics"]
  const messages = cargo(target === undefined ? args : [...args, "--target", target], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  })
  const built = messages
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))
    .find((it) => it.reason === "compiler-artifact" && it.target.name === CRATE.replace("-", "_"))
  const library = built.filenames.find((name) => /\.(so|dylib|dll)$/.test(name))

  const host = execFileSync("rustc", ["-vV"], { encoding: "utf8" }).match(/^host: (.+)$/m)[1]
  const addon = join(root, `everstream.${parseTriple(target ?? host).platformArchABI}.node`)
  // Never written in place: a process may have it mapped.
  copyFileSync(library, `${addon}.new`)
  renameSync(`${addon}.new`, addon)

  const dtsHeader = readFileSync(join(root, "scripts", "native-header.d.ts"), "utf8")
  const { exports, dts } = await generateTypeDef({ typeDefDir: types, dtsHeader: `${dtsHeader}\n`, constEnum: true, cwd: root })
  writeFileSync(join(root, "native.d.ts"), dts)
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  await writeJsBinding({
    platform: true,
    binaryName: "everstream",
    packageName: "everstream",
    jsBinding: "native.js",
    outputDir: root,
    idents: exports,
    version,
  })
}

/** Whether a file is at least as new as all files of a folder. */
function isCurrent(folder, file) {
  const changed = (path) => statSync(path).mtimeMs
  return existsSync(file) && readdirSync(folder).every((name) => changed(join(folder, name)) <= changed(file))
}
