/** What the native module tells, as the face has it: what is not there is left out. */
import type { LinkedStreamInfo, SubscriptionInfo } from "../../native.js"
import type { LinkedStream, Subscription } from "./types.js"

export function linked(streams: readonly LinkedStreamInfo[]): LinkedStream[] {
  return streams.map(({ tailOffset, ...stream }) => (tailOffset === null ? stream : { ...stream, tailOffset }))
}

export function subscription(info: SubscriptionInfo): Subscription {
  const { streams, lease, ...rest } = info
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null))
  return { ...(given as Omit<Subscription, "streams" | "leaseMs">), streams: linked(streams), leaseMs: lease }
}

/** The path of a stream. */
export function pathOf(stream: LinkedStream | string): string {
  return typeof stream === "string" ? stream : stream.path
}
