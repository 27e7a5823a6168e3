/** The stage: the real screens on a pretended engine, for pictures and for axe. Never part of the shipped client. */
import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { parsedWords } from '../build/words.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
    root: here('.'),
    base: './',
    publicDir: here('../public'),
    plugins: [svelte(), parsedWords()],
    resolve: { alias: { '~': here('../src') } },
    worker: { format: 'es' },
    build: {
        outDir: process.env.STAGE_OUT ?? here('../dist-stage'),
        emptyOutDir: true,
        target: 'es2022',
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        rolldownOptions: { input: [here('./index.html'), here('./components.html')] },
    },
});
