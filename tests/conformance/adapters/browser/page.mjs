/** The adapter in a page: whoever opens it calls this. */
import { answerLine } from "../node/adapter.mjs"

globalThis.answerLine = answerLine
