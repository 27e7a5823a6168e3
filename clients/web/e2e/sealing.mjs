/**
 * Checks the cryptography of sealing in a real browser, in a module worker under the client's own content policy.
 *
 *     node e2e/sealing.mjs --browser chromium|firefox [--interop FILE] [--parsers FILE]
 *
 * Prints one JSON object: what passed by group, what failed, what was skipped and why, and with `--interop` what the
 * browser made for the other side. Exits 0 when nothing failed, 1 when something did, 2 when it could not run.
 *
 * LEESIDE_TEST_CHROMIUM, LEESIDE_TEST_FIREFOX   the browser's program; by default it is looked for on the PATH
 * LEESIDE_VECTORS     the folder of Wycheproof's and the RFCs' vectors; by default `shared/vectors` beside the checkout
 * LEESIDE_RFC9180     the file of RFC 9180's vectors; by default that of the Python package `cryptography_vectors`
 * LEESIDE_CONTENT_POLICY   the policy that the page is served with; by default the client's own as of this file
 */

import { access, constants, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, extname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import puppeteer from 'puppeteer-core';
import { build } from 'vite';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const CHECKOUT = resolve(WEB, '../..');
/** What the page may load and do; the server's own where a test gives it. */
const POLICY =
    process.env.LEESIDE_CONTENT_POLICY ??
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
        "worker-src 'self'; manifest-src 'self'; font-src 'self'; media-src 'self' blob:; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.json': 'application/json' };
const PUBLISHED = ['wycheproof_ed25519', 'wycheproof_x25519', 'wycheproof_aes_gcm', 'wycheproof_hkdf_sha256'];
/** How long the page may take, on a machine that does much else. */
const WAIT_MS = 240_000;

const BROWSERS = {
    chromium: {
        variable: 'LEESIDE_TEST_CHROMIUM',
        programs: ['chromium', 'chromium-browser', 'google-chrome'],
        options: {
            browser: 'chrome',
            args: [
                '--no-sandbox',
                '--disable-gpu',
                '--disable-quic',
                '--disable-dev-shm-usage',
                '--disable-background-networking',
                '--disable-component-update',
                '--disable-sync',
                '--no-first-run',
            ],
        },
    },
    firefox: {
        variable: 'LEESIDE_TEST_FIREFOX',
        programs: ['firefox-esr', 'firefox'],
        options: { browser: 'firefox', protocol: 'webDriverBiDi' },
    },
};

async function programOf({ variable, programs }) {
    const named = process.env[variable];
    if (named) return named;
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
        for (const name of programs) {
            const path = join(folder, name);
            if (
                await access(path, constants.X_OK).then(
                    () => true,
                    () => false,
                )
            )
                return path;
        }
    }
    throw new Error(`no browser: none of ${programs.join(', ')} is on the PATH; set ${variable}`);
}

/** A JSON file; null where there is none. */
async function json(path) {
    const text = await readFile(path, 'utf8').catch(() => null);
    return text === null ? null : JSON.parse(text);
}

/** The vectors of RFC 9180 for the key exchange and the hash that sealing uses, in base mode; null without the file. */
async function rfc9180() {
    const all = await json(process.env.LEESIDE_RFC9180 ?? (await rfc9180Path()));
    return all?.filter((v) => v.mode === 0 && v.kem_id === 0x20 && v.kdf_id === 1) ?? null;
}

async function rfc9180Path() {
    const lib = join(CHECKOUT, '.venv', 'lib');
    const [python] = await readdir(lib).catch(() => []);
    return join(lib, python ?? '', 'site-packages/cryptography_vectors/HPKE/test-vectors.json');
}

/** All that the page is given. */
async function given({ interop, parsers }) {
    const folder = process.env.LEESIDE_VECTORS || join(CHECKOUT, '..', 'shared', 'vectors');
    const published = {};
    for (const name of PUBLISHED) published[name] = await json(join(folder, `${name}.json`));
    return JSON.stringify({
        own: await json(join(CHECKOUT, 'protocol/vectors/sealing.json')),
        published,
        rfc9180: await rfc9180(),
        interop: interop === undefined ? null : await json(interop),
        parsers: parsers === undefined ? null : await json(parsers),
    });
}

/** Builds the page as the client itself is built. */
async function buildPage(outDir) {
    await build({
        configFile: false,
        root: join(WEB, 'e2e/sealing'),
        logLevel: 'error',
        resolve: { alias: { '~': join(WEB, 'src') } },
        worker: { format: 'es' },
        build: {
            outDir,
            emptyOutDir: true,
            target: 'es2022',
            assetsInlineLimit: 0,
            modulePreload: { polyfill: false },
        },
    });
}

/** Serves the page, gives it the vectors at `/given`, and takes its one report. */
async function serve(folder, vectors) {
    const { promise: report, resolve: reported } = deferred();
    const server = createServer((request, response) => {
        void answer(request).then(([status, type, body]) => {
            response.writeHead(status, {
                'Content-Type': type,
                'Content-Security-Policy': POLICY,
                'X-Content-Type-Options': 'nosniff',
            });
            response.end(body);
        });
    });
    async function answer(request) {
        const { pathname } = new URL(request.url, 'http://localhost');
        if (request.method === 'POST' && pathname === '/report') {
            const parts = [];
            for await (const part of request) parts.push(part);
            reported(JSON.parse(Buffer.concat(parts).toString('utf8')));
            return [204, 'text/plain', ''];
        }
        if (pathname === '/given') return [200, 'application/json', vectors];
        const path = resolve(folder, `.${pathname === '/' ? '/index.html' : pathname}`);
        const body = path.startsWith(folder + sep) ? await readFile(path).catch(() => null) : null;
        if (body === null) return [404, 'text/plain', 'not here'];
        return [200, TYPES[extname(path)] ?? 'application/octet-stream', body];
    }
    await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
    return { server, report, url: `http://localhost:${server.address().port}/` };
}

function deferred() {
    const parts = {};
    parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
    return parts;
}

async function main() {
    const { values } = parseArgs({
        options: { browser: { type: 'string' }, interop: { type: 'string' }, parsers: { type: 'string' } },
    });
    const wanted = BROWSERS[values.browser];
    if (wanted === undefined) throw new Error('usage: node e2e/sealing.mjs --browser chromium|firefox');
    const executablePath = await programOf(wanted);
    const folder = await mkdtemp(join(tmpdir(), 'leeside-sealing-'));
    const closing = [() => rm(folder, { recursive: true, force: true })];
    try {
        const dist = join(folder, 'page');
        await buildPage(dist);
        const { server, report, url } = await serve(dist, await given(values));
        closing.unshift(() => {
            server.closeAllConnections();
            server.close();
        });
        const userDataDir = join(folder, 'profile');
        const browser = await puppeteer.launch({
            ...wanted.options,
            executablePath,
            headless: true,
            userDataDir,
        });
        closing.unshift(() => browser.close());
        const version = await browser.version();
        const page = await browser.newPage();
        const { promise: broken, reject: breaks } = deferred();
        page.on('pageerror', (error) => breaks(new Error(`the page failed: ${error.message}`)));
        page.on('console', (line) => {
            if (line.type() === 'error') breaks(new Error(`the page complained: ${line.text()}`));
        });
        const timer = setTimeout(() => breaks(new Error('the page did not report in time')), WAIT_MS);
        closing.unshift(() => clearTimeout(timer));
        await page.goto(url);
        const result = await Promise.race([report, broken]);
        console.log(JSON.stringify({ browser: values.browser, version, ...result }, null, 2));
        return result.failed.length === 0 ? 0 : 1;
    } finally {
        for (const close of closing) await Promise.resolve(close()).catch(() => undefined);
    }
}

process.exitCode = await main().catch((error) => {
    console.error(error.message);
    return 2;
});
