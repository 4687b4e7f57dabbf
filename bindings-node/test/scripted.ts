/** A server that answers as a test says, for what no real one does on request. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

import { onTestFinished } from "vitest"

export type Answer = (response: ServerResponse, query: URLSearchParams, request: IncomingMessage) => void

/** The address of a stream, and what was asked: method and query of each request. */
export async function scripted(answer: Answer): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const { search, searchParams } = new URL(request.url ?? "", "http://localhost")
    asked.push(`${request.method}${search}`)
    request.resume().once("end", () => answer(response, searchParams, request))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/stream`, asked }
}

/** Events of a stream of messages. */
export const event = {
  data: (items: unknown[]) => `event: data\ndata:${JSON.stringify(items)}\n\n`,
  control: (fields: object) => `event: control\ndata:${JSON.stringify(fields)}\n\n`,
}
