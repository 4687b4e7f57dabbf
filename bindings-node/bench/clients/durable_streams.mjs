/** The official client. Reads that are not live end after one page, so these are, and end at the tail. */
import * as official from "@durable-streams/client"

import { surface } from "../surface.mjs"

export const { produce, appender, readJson, iterJson, readBytes, tail } = surface(official, {
  live: true,
  items: (response) => response.jsonStream(),
})
