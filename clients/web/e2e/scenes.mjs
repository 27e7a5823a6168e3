// The stage in a real browser: built, served under the shipped page's policy, one page a scene. For pictures and for axe.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { launch } from 'puppeteer-core';
import { build } from 'vite';

const here = new URL('.', import.meta.url).pathname;
/** What somebody sends. */
const picture = join(here, '../public/icons/icon-512.png');
/** As the relay sends it (server/leeside_server/relay/web.py). */
const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "worker-src 'self'",
    "manifest-src 'self'",
    "font-src 'self'",
    "media-src 'self' blob:",
].join('; ');
/** How long a scene may take to stand on a machine that does much else. */
const WAIT_MS = 45_000;
const types = {
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript',
    '.css': 'text/css',
    '.svg': 'image/svg+xml',
    '.png': 'image/png',
    '.json': 'application/json',
    '.webmanifest': 'application/manifest+json',
};

function serve(root) {
    const server = createServer(async (request, response) => {
        const path = normalize(new URL(request.url, 'http://stage').pathname);
        try {
            const body = await readFile(join(root, path === '/' ? 'index.html' : path));
            response.writeHead(200, {
                'content-type': types[extname(path)] ?? 'text/html; charset=utf-8',
                'content-security-policy': policy,
                // The same program for hundreds of scenes: read and compiled once.
                'cache-control': path.startsWith('/assets/') ? 'max-age=3600, immutable' : 'no-store',
            });
            response.end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/**
 * Build, serve, start the browser; `work` gets what it needs, and everything is taken down after it. Whoever looks several
 * times names a folder in STAGE_OUT: what was built there before is taken as it is.
 */
export async function onStage(work) {
    const folder = await mkdtemp(join(tmpdir(), 'leeside-stage-'));
    process.env.STAGE_OUT ??= join(folder, 'built');
    let server;
    let browser;
    try {
        if (!existsSync(join(process.env.STAGE_OUT, 'index.html')))
            await build({ configFile: join(here, '../stage/vite.config.ts'), logLevel: 'warn' });
        server = await serve(process.env.STAGE_OUT);
        browser = await launch({
            executablePath: process.env.LEESIDE_TEST_CHROMIUM ?? '/usr/bin/chromium',
            headless: true,
            userDataDir: join(folder, 'profile'),
            args: [
                '--no-sandbox',
                '--disable-gpu',
                '--disable-quic',
                '--no-first-run',
                '--disable-background-networking',
                '--disable-component-update',
                '--disable-sync',
            ],
        });
        const address = `http://127.0.0.1:${server.address().port}/`;
        const page = await browser.newPage();
        const complaints = [];
        page.on('console', (message) => {
            // The stage has no tiles: its map shows marks alone.
            const tiles = message.location().url?.includes('/map/');
            if (message.type() === 'error' && !tiles) complaints.push(message.text());
        });
        page.on('pageerror', (error) => complaints.push(String(error)));
        page.on('request', (request) => {
            const { protocol, origin } = new URL(request.url());
            if (protocol.startsWith('http') && `${origin}/` !== address)
                complaints.push(`off-site: ${origin}`);
        });
        await page.emulateTimezone('UTC');
        await page.goto(address);
        const scenes = await page.evaluate(() => window.scenes);
        scenes.push({ name: 'components', page: 'components.html', path: '', taps: [], wide: true });
        return await work({ page, address, scenes, complaints });
    } finally {
        await browser?.close();
        server?.close();
        await rm(folder, { recursive: true, force: true });
    }
}

/** Show one scene; resolves when it stands. `variant`: theme, lang, dir; `scale`: pixels of the picture for one of the page. */
export async function show({ page, address }, scene, { scale = 1, ...variant }) {
    const [width, height] = scene.wide ? [1440, 900] : [360, 740];
    await page.setViewport({ width, height, deviceScaleFactor: scale });
    await page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: variant.theme },
        { name: 'prefers-reduced-motion', value: 'reduce' },
    ]);
    const asked = new URLSearchParams({ scene: scene.name, ...variant });
    await page.goto(`${address}${scene.page ?? ''}?${asked}${scene.path}`);
    await page.waitForFunction(() => window.staged === true, { timeout: WAIT_MS });
    for (const tap of scene.taps) {
        if (tap.startsWith('key:')) {
            await page.keyboard.press(tap.slice('key:'.length));
            continue;
        }
        if (tap.startsWith('wait:')) {
            await new Promise((done) => setTimeout(done, Number(tap.slice('wait:'.length))));
            continue;
        }
        if (tap.startsWith('file:')) {
            const field = await page.waitForSelector(tap.slice('file:'.length), { timeout: WAIT_MS });
            await field.uploadFile(picture);
            continue;
        }
        const found = await page.waitForSelector(tap, { timeout: WAIT_MS });
        await found.evaluate((element) => element.click());
    }
    await page.evaluate(
        () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
}

/** Scenes by the words given on the command line: any part of a name. */
export function chosen(scenes, words) {
    const share = /^([1-9]\d*)\/([1-9]\d*)$/.exec(words[0] ?? '');
    if (share) return scenes.filter((_, at) => at % Number(share[2]) === Number(share[1]) - 1);
    return words.length === 0
        ? scenes
        : scenes.filter(({ name }) => words.some((word) => name.includes(word)));
}
