import type { Plugin } from 'vite';
import { archive } from '../town/archive.ts';

const PATH = 'map/town.pmtiles';

/** Puts the invented town's map into the build, and serves it, with ranges, while one develops. */
export function demoTown(): Plugin {
    return {
        name: 'leeside:town',
        generateBundle() {
            this.emitFile({ type: 'asset', fileName: PATH, source: archive() });
        },
        configureServer(server) {
            const bytes = archive();
            server.middlewares.use(`/${PATH}`, (request, response) => {
                const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
                const [from, to] = range
                    ? [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)]
                    : [0, bytes.length - 1];
                response.writeHead(range ? 206 : 200, {
                    'Content-Type': 'application/vnd.pmtiles',
                    'Content-Range': `bytes ${from}-${to}/${bytes.length}`,
                    'Accept-Ranges': 'bytes',
                });
                response.end(bytes.subarray(from, to + 1));
            });
        },
    };
}
