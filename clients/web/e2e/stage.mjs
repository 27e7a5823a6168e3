/**
 * Builds a stage as the client itself is built: `node e2e/stage.mjs NAME FOLDER`.
 *
 * A stage (`stage/NAME`) shows real views over a pretended engine: for pictures, for accessibility, and for measures.
 */
import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { build } from 'vite';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [name, folder] = process.argv.slice(2);
if (!name || !folder) throw new Error('usage: node e2e/stage.mjs NAME FOLDER');

await build({
    configFile: false,
    root: here(`../stage/${name}`),
    logLevel: 'warn',
    plugins: [svelte({ configFile: here('../svelte.config.js') })],
    resolve: { alias: { '~': here('../src') } },
    worker: { format: 'es' },
    build: {
        outDir: folder,
        emptyOutDir: true,
        target: 'es2022',
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
    },
});
