import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["server.test.mjs"],
    reporters: ["default", "json"],
    outputFile: { json: "report.json" },
  },
})
