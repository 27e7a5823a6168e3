/**
 * A page of a real browser that Playwright has no build for, driven by another program: one JSON object a line, both ways.
 *
 *     LEESIDE_TEST_FIREFOX=/usr/bin/firefox-esr node e2e/page.mjs
 *
 * In:  {"id": 1, "do": "before", "script": "..."}     runs in every page from now on, before anything of its own
 *      {"id": 2, "do": "go", "url": "http://..."}
 *      {"id": 3, "do": "evaluate", "script": "(arg) => ...", "arg": ...}
 * Out: {"id": 3, "value": ...} or {"id": 3, "error": "..."}; {"complaint": "..."} for an error on its console.
 *
 * It ends, and the browser with it, when its input does. Cameras pretend, and nobody is asked for them.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import puppeteer from 'puppeteer-core';

const PREFERENCES = {
    'media.navigator.streams.fake': true,
    'media.navigator.permission.disabled': true,
    'media.autoplay.default': 0,
    'media.autoplay.blocking_policy': 0,
    'media.peerconnection.ice.obfuscate_host_addresses': false,
};

const say = (words) => process.stdout.write(`${JSON.stringify(words)}\n`);

async function main() {
    const executablePath = process.env.LEESIDE_TEST_FIREFOX;
    if (!executablePath) throw new Error('LEESIDE_TEST_FIREFOX names no program');
    const userDataDir = await mkdtemp(join(tmpdir(), 'leeside-page-'));
    const browser = await puppeteer.launch({
        browser: 'firefox',
        protocol: 'webDriverBiDi',
        executablePath,
        headless: true,
        userDataDir,
        extraPrefsFirefox: PREFERENCES,
    });
    try {
        const page = await browser.newPage();
        page.on('pageerror', (error) => say({ complaint: error.message }));
        page.on('console', (line) => {
            if (line.type() === 'error') say({ complaint: line.text() });
        });
        const does = {
            // As a function: it is sent as its text, and the page's content policy lets no text be run.
            before: ({ script }) => page.evaluateOnNewDocument(new Function(script)),
            go: ({ url }) => page.goto(url),
            evaluate: ({ script, arg }) => page.evaluate(`(${script})(${JSON.stringify(arg ?? null)})`),
        };
        const answer = async ({ id, do: verb, ...given }) => {
            try {
                const value = await does[verb](given);
                say({ id, value: verb === 'evaluate' ? (value ?? null) : null });
            } catch (error) {
                say({ id, error: error.message });
            }
        };
        say({ id: 0, value: await browser.version() });
        // A script that waits for something must not keep the next one waiting.
        for await (const line of createInterface({ input: process.stdin })) void answer(JSON.parse(line));
    } finally {
        await browser.close().catch(() => undefined);
        await rm(userDataDir, { recursive: true, force: true });
    }
}

process.exitCode = await main().then(
    () => 0,
    (error) => {
        console.error(error.message);
        return 2;
    },
);
