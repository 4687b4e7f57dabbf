/** Pages that nobody sees, and pages that are left. */
import type { Producer, Reader } from "./backend.js"

/** A page that nobody sees reads nothing; when it is seen again, the read goes on where it was. */
export function watchVisibility(reader: Reader): (() => void) | undefined {
  const page = visiblePage()
  if (page === undefined) {
    return undefined
  }
  const look = (): void => (page.hidden ? reader.pause() : reader.resume())
  page.addEventListener("visibilitychange", look)
  if (page.hidden) {
    reader.pause()
  }
  return () => page.removeEventListener("visibilitychange", look)
}

/** A page that is hidden or left may not come back: what waits for company is sent at once. */
export function whenLeaving(producer: Producer): (() => void) | undefined {
  const page = visiblePage()
  if (page === undefined) {
    return undefined
  }
  // Whoever forgets a producer without closing it leaves a listener behind, but not the producer.
  const watched = new WeakRef(producer)
  const leave = (): void => watched.deref()?.hurry()
  const hide = (): void => {
    if (page.hidden) {
      leave()
    }
  }
  page.addEventListener("visibilitychange", hide)
  globalThis.addEventListener("pagehide", leave)
  return () => {
    page.removeEventListener("visibilitychange", hide)
    globalThis.removeEventListener("pagehide", leave)
  }
}

function visiblePage(): Document | undefined {
  const page = globalThis.document as Document | undefined
  const visible = typeof page === "object" && typeof page.hidden === "boolean" && typeof page.addEventListener === "function"
  return visible ? page : undefined
}
