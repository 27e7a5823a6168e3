import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Plugin, ResolvedConfig } from 'vite';

const TEXT = /\.(js|css|html|json|svg|webmanifest)$/;

/** Puts `NAME.br` and `NAME.gz` beside each text of the build, once, so that the server compresses nothing while it works. */
export function compressed(): Plugin {
    let config: ResolvedConfig;
    return {
        name: 'leeside:compressed',
        apply: 'build',
        configResolved(resolved) {
            config = resolved;
        },
        closeBundle: {
            order: 'post',
            async handler() {
                const folder = config.build.outDir;
                const files = await readdir(folder, { recursive: true, withFileTypes: true });
                await Promise.all(
                    files
                        .filter((file) => file.isFile() && TEXT.test(file.name))
                        .map(async (file) => {
                            const path = join(file.parentPath, file.name);
                            const text = await readFile(path);
                            const quality = { [constants.BROTLI_PARAM_QUALITY]: 11 };
                            await writeFile(
                                `${path}.br`,
                                await promisify(brotliCompress)(text, { params: quality }),
                            );
                            await writeFile(`${path}.gz`, await promisify(gzip)(text, { level: 9 }));
                        }),
                );
            },
        },
    };
}
