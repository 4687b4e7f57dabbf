/** Webhooks, workers and leases; beyond the official protocol. */
import { Subscriptions } from "../../../../bindings-node/dist/subscriptions/index.mjs"
import { RequestTimeoutError } from "./everstream.mjs"
import { success } from "./protocol.mjs"

/** The commands. `current` gives the session. */
export function commands(current) {
  const subscriptions = () => {
    const { url, ...options } = current().options({ path: "/v1/stream" })
    return new Subscriptions({ url, ...options })
  }
  const lease = () => current().hooks.get("lease")
  const given = (command, lease) => {
    current().hooks.set("lease", lease)
    const { subscriptionId, wakeId, generation, streams, pending } = lease
    return success(command, {
      lease: { subscriptionId, wakeId, generation, streams, pending: pending.map((stream) => stream.path) },
    })
  }
  return {
    async subscribe(command) {
      const { id, pattern, streams, wakeStream, webhook, leaseMs } = command
      const made = await subscriptions().create(id, { pattern, streams, wakeStream, webhook, leaseMs })
      return success(command, { created: made.created, leaseMs: made.leaseMs, streams: made.streams })
    },

    async "verify-webhook"(command) {
      const { signature, body, subscription, toleranceMs } = command
      const { hooks } = current()
      const key = JSON.stringify([subscription, toleranceMs])
      if (!hooks.has(key)) {
        hooks.set(key, subscriptions().webhookVerifier({ subscription, toleranceMs }))
      }
      const { subscriptionId, wakeId, generation, streams } = await hooks.get(key).verify(signature, new TextEncoder().encode(body))
      return success(command, { wake: { subscriptionId, wakeId, generation, streams } })
    },

    async "work-of"(command) {
      return given(command, subscriptions().workOf(command.body, { leaseMs: command.leaseMs }))
    },

    async worker(command) {
      current().hooks.get("worker")?.close()
      current().hooks.set("worker", await subscriptions().worker(command.id, command.name))
      return success(command)
    },

    async "next-lease"(command) {
      const late = AbortSignal.timeout(command.timeoutMs ?? 5000)
      try {
        return given(command, await current().hooks.get("worker").next({ signal: late }))
      } catch (error) {
        throw late.aborted ? new RequestTimeoutError("there was no work in time", "TIMEOUT") : error
      }
    },

    async "lease-read"(command) {
      const response = await lease().read(command.stream)
      const messages = []
      if (command.maxItems !== 0) {
        for await (const message of response) {
          messages.push(message)
          if (messages.length === command.maxItems) {
            break
          }
        }
      }
      return success(command, { messages, offset: response.offset })
    },

    async "lease-ack"(command) {
      await lease().ack(command.offsets)
      return success(command)
    },

    async "lease-finish"(command) {
      return success(command, { nextWake: await lease().finish(command.offsets) })
    },

    async "lease-release"(command) {
      await lease().release()
      return success(command)
    },

    async "lease-hold"(command) {
      const { signal } = lease()
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, command.timeoutMs)
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true })
      })
      return success(command, { lost: lease().isLost })
    },
  }
}
