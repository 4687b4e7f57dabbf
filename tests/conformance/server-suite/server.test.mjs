// The official server suite against a running server.
//
//   CONFORMANCE_TEST_URL       base URL of the server, which answers /v1/stream/... under it
//   CONFORMANCE_LONG_POLL_MS   the server's long-poll timeout; default 500
//   CONFORMANCE_SUBSCRIPTIONS  1 adds the tests of the reserved subscription API
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const { CONFORMANCE_TEST_URL, CONFORMANCE_LONG_POLL_MS = "500", CONFORMANCE_SUBSCRIPTIONS } = process.env
if (!CONFORMANCE_TEST_URL) throw new Error("CONFORMANCE_TEST_URL is not set")

runConformanceTests({
  baseUrl: CONFORMANCE_TEST_URL,
  longPollTimeoutMs: Number(CONFORMANCE_LONG_POLL_MS),
  subscriptions: CONFORMANCE_SUBSCRIPTIONS === "1",
})
