import { run } from "./program.mjs"

console.log(await run(Deno.args[0]))
