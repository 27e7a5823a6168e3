import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
    plugins: [
        svelte(),
        {
            // Signals are tested as the browser runs them: Svelte's server build has none.
            name: 'signals-in-node',
            configEnvironment: () => ({
                consumer: 'client',
                resolve: { conditions: ['browser', 'module', 'development'] },
            }),
        },
    ],
    resolve: { alias: { '~': fileURLToPath(new URL('./src', import.meta.url)) } },
    test: {
        include: ['src/**/*.test.ts', 'town/**/*.test.ts'],
        environment: 'node',
        // A busy machine is no fault: what hangs is found all the same.
        testTimeout: 60_000,
        hookTimeout: 60_000,
        server: { deps: { inline: [/svelte/] } },
    },
});
