// Looking through much without holding up the page.

/** Whether text contains what was typed, in any letter case. */
export function matcher(typed) {
  const pattern = new RegExp(typed.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'iu')
  return (text) => pattern.test(text)
}

/** Calls `step` until it says that it is done, and lets the page breathe now and then. */
export async function slowly(step) {
  for (;;) {
    const until = performance.now() + 12
    while (performance.now() < until) if (step()) return
    await new Promise((resolve) => setTimeout(resolve))
  }
}
