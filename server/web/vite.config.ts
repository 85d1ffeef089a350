import { defineConfig } from 'vite';

// For work on the page: `npm run dev` beside a running server.
const server = process.env.PATTOO_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: './',
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: 'es2022', chunkSizeWarningLimit: 150 },
  server: { proxy: { '/api': server, '/metrics': server } },
});
