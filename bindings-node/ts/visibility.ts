import type { Reader } from "./backend.js"

/** A page that nobody sees reads nothing; when it is seen again, the read goes on where it was. */
export function watchVisibility(reader: Reader): (() => void) | undefined {
  const page = globalThis.document as Document | undefined
  if (typeof page !== "object" || typeof page.hidden !== "boolean" || typeof page.addEventListener !== "function") {
    return undefined
  }
  const look = (): void => (page.hidden ? reader.pause() : reader.resume())
  page.addEventListener("visibilitychange", look)
  if (page.hidden) {
    reader.pause()
  }
  return () => page.removeEventListener("visibilitychange", look)
}
