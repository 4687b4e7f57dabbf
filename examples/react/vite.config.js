import { defineConfig } from "vite"

export default defineConfig({
  // JSX as React 17 and later have it.
  esbuild: { jsx: "automatic" },
  // In a checkout the package is a link to a folder that has a React of its own.
  resolve: { dedupe: ["react", "react-dom"] },
})
