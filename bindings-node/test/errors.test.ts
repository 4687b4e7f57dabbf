import { readFileSync } from "node:fs"

import * as everstream from "everstream"
import { DurableStreamError, FetchError, SequenceGapError, StaleEpochError, StreamClosedError } from "everstream"
import { expect, it } from "vitest"

interface Row {
  code: string
  js: string
}

const contract = JSON.parse(
  readFileSync(new URL("../../tests/contract/errors.json", import.meta.url), "utf8"),
) as Row[]

it("every code of the contract has its class", async () => {
  const { CLASSES } = (await import("../dist/errors.js")) as { CLASSES: Record<string, { name: string }> }
  expect(Object.fromEntries(Object.entries(CLASSES).map(([code, { name }]) => [code, name]))).toEqual(
    Object.fromEntries(contract.map(({ code, js }) => [code, js])),
  )
  for (const { js } of contract) {
    const exported = (everstream as unknown as Record<string, { prototype: unknown } | undefined>)[js]
    expect(exported?.prototype, js).toBeInstanceOf(DurableStreamError)
  }
})

it("the classes of the official client are made as there", () => {
  const failed = new FetchError(404, "gone", undefined, { a: "b" }, "http://x/")
  expect(failed).toMatchObject({ status: 404, text: "gone", headers: { a: "b" }, url: "http://x/", name: "FetchError" })
  expect(failed.message).toBe("HTTP Error 404 at http://x/: gone")
  expect(DurableStreamError.fromFetchError(failed)).toMatchObject({ code: "NOT_FOUND", status: 404, details: "gone" })
  const closed = new StreamClosedError("http://x/", "5")
  expect(closed).toMatchObject({ code: "STREAM_CLOSED", status: 409, streamClosed: true, finalOffset: "5" })
  expect(closed).toBeInstanceOf(DurableStreamError)
  expect(new StaleEpochError(3)).toMatchObject({ currentEpoch: 3, name: "StaleEpochError" })
  expect(new SequenceGapError(1, 2)).toMatchObject({ expectedSeq: 1, receivedSeq: 2, name: "SequenceGapError" })
})

it("errors are made of answers", async () => {
  const json = () => new Response('{"a":1}', { status: 400, headers: { "content-type": "application/json" } })
  expect(await FetchError.fromResponse(json(), "http://x/")).toMatchObject({ json: { a: 1 }, text: undefined })
  expect(await DurableStreamError.fromResponse(json(), "http://x/")).toMatchObject({
    code: "BAD_REQUEST",
    details: { a: 1 },
  })
})

it("errors are made of mocks, which have one method for the body", async () => {
  const mock = (fields: object) => ({ status: 400, statusText: "", bodyUsed: false, ...fields }) as unknown as Response
  const headers = new Headers({ "content-type": "application/json" })
  const json = mock({ headers, json: async () => ({ a: 1 }) })
  expect(await FetchError.fromResponse(json, "http://x/")).toMatchObject({ json: { a: 1 }, text: undefined })
  const text = mock({ headers: new Headers(), text: async () => "no" })
  expect(await DurableStreamError.fromResponse(text, "http://x/")).toMatchObject({ code: "BAD_REQUEST", details: "no" })
  const read = mock({ headers, bodyUsed: true })
  expect(await FetchError.fromResponse(read, "http://x/")).toMatchObject({ json: undefined, text: undefined })
})

it("what says that it is JSON and is not is text", async () => {
  const broken = new Response("{", { status: 500, headers: { "content-type": "application/json" } })
  expect(await FetchError.fromResponse(broken, "http://x/")).toMatchObject({ json: undefined, text: "{" })
})
