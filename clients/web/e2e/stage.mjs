/**
 * Builds a stage as the client itself is built: `node e2e/stage.mjs NAME FOLDER`.
 *
 * A stage (`stage/NAME`) shows real views over a pretended engine: for pictures, for accessibility, and for measures.
 */
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [name, folder] = process.argv.slice(2);
if (!name || !folder) throw new Error('usage: node e2e/stage.mjs NAME FOLDER');

await build({
    configFile: here('../vite.config.ts'),
    root: here(`../stage/${name}`),
    publicDir: here('../public'),
    logLevel: 'warn',
    build: { outDir: folder, emptyOutDir: true },
});
