import { run } from "./program.mjs"

export default {
  async fetch(request) {
    return new Response(await run(new URL(request.url).searchParams.get("stream")))
  },
}
