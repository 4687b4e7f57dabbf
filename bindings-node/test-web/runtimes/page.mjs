import { run } from "./program.mjs"

document.querySelector("output").textContent = await run(new URL(location.href).searchParams.get("stream"))
