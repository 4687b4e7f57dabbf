/** Other programs, for tests. */
import { spawn, type ChildProcessByStdio } from "node:child_process"
import type { Readable } from "node:stream"

import { until } from "./support.js"

/** A program that runs. What it prints can be looked at meanwhile. */
export class Running {
  stdout = ""
  stderr = ""
  /** How it ended: its code, or the signal that ended it. */
  readonly ended: Promise<number | string>
  readonly #child: ChildProcessByStdio<null, Readable, Readable>

  constructor(program: string, args: string[], options: { cwd?: string; env?: Record<string, string> } = {}) {
    const env = { ...process.env, NO_PROXY: "127.0.0.1,localhost", ...options.env }
    this.#child = spawn(program, args, { cwd: options.cwd, env, stdio: ["ignore", "pipe", "pipe"] })
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => (this.stdout += text))
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => (this.stderr += text))
    this.ended = new Promise((resolve, reject) => {
      this.#child.once("error", reject)
      this.#child.once("close", (code, signal) => resolve(code ?? signal ?? "unknown"))
    })
  }

  /** Waits until it has printed something. */
  async printed(text: string | RegExp): Promise<void> {
    let over = false
    void this.ended.then(() => (over = true))
    const found = () => (typeof text === "string" ? this.stdout.includes(text) : text.test(this.stdout))
    await until(() => found() || over)
    if (!found()) {
      throw new Error(`it ended before it printed ${String(text)}:\n${this.stdout}${this.stderr}`)
    }
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.#child.kill(signal)
  }
}

/** Runs a program to its end, and gives what it printed. */
export async function output(...args: ConstructorParameters<typeof Running>): Promise<string> {
  const running = new Running(...args)
  const ended = await running.ended
  if (ended !== 0) {
    throw new Error(`it ended with ${ended}:\n${running.stdout}${running.stderr}`)
  }
  return running.stdout
}
