import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { compressed } from './build/compressed.ts';
import { serviceWorker } from './build/service-worker.ts';
import { demoTown } from './build/town.ts';
import { parsedWords } from './build/words.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
    plugins: [svelte(), parsedWords(), demoTown(), serviceWorker(), compressed()],
    resolve: { alias: { '~': here('./src') } },
    worker: { format: 'es' },
    build: {
        outDir: here('../../server/leeside_server/web_dist'),
        emptyOutDir: true,
        target: 'es2022',
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
    },
});
