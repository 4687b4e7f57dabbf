/** Ours. */
import * as everstream from "everstream"

import { surface } from "../surface.mjs"

export const { produce, appender, readJson, iterJson, readBytes, tail } = surface(everstream, {
  live: false,
  items: (response) => response,
})
