import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin, type ResolvedConfig } from 'vite';

const entry = fileURLToPath(new URL('../src/service-worker.ts', import.meta.url));

/**
 * What the service worker must not keep beforehand: the map and what draws it are large, and most phones never show one.
 * They are kept when they were first shown (`service-worker.ts`). Compressed twins are the server's business.
 */
const LATER = /^(map\/|assets\/maplibre)|\.(br|gz|map)$|^service-worker\.js$/;

interface Kept {
    readonly url: string;
    /** Null where the name carries the hash of the content already. */
    readonly revision: string | null;
}

async function kept(folder: string): Promise<Kept[]> {
    const found = await readdir(folder, { recursive: true, withFileTypes: true });
    const names = found
        .filter((file) => file.isFile())
        .map((file) => relative(folder, join(file.parentPath, file.name)))
        .filter((name) => !LATER.test(name))
        .sort();
    return Promise.all(
        names.map(async (name) => ({
            url: name,
            revision: name.startsWith('assets/')
                ? null
                : createHash('sha256')
                      .update(await readFile(join(folder, name)))
                      .digest('hex')
                      .slice(0, 16),
        })),
    );
}

/**
 * Builds `service-worker.js` behind everything else, with the list of all files that it keeps. A bundle of its own: it must
 * have one name for ever, and `process.env.NODE_ENV` defined, or Workbox fails in it without a word.
 */
export function serviceWorker(): Plugin {
    let config: ResolvedConfig;
    return {
        name: 'leeside:service-worker',
        apply: 'build',
        configResolved(resolved) {
            config = resolved;
        },
        closeBundle: {
            order: 'post',
            async handler() {
                const folder = config.build.outDir;
                await build({
                    configFile: false,
                    root: config.root,
                    logLevel: 'warn',
                    publicDir: false,
                    resolve: { alias: { '~': fileURLToPath(new URL('../src', import.meta.url)) } },
                    define: {
                        'process.env.NODE_ENV': JSON.stringify('production'),
                        __KEPT__: JSON.stringify(await kept(folder)),
                    },
                    build: {
                        outDir: folder,
                        emptyOutDir: false,
                        target: 'es2022',
                        lib: { entry, formats: ['es'], fileName: () => 'service-worker.js' },
                    },
                });
            },
        },
    };
}
