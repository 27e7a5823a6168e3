/** Runs the checks in a worker, where the client seals, and hands their report to who opened the page. */

import { trustOwnScripts } from '~/platform/own-scripts';
import type { Report } from './report';

async function run(): Promise<void> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
    const report = await new Promise<Report>((resolve, reject) => {
        worker.onmessage = (event: MessageEvent<Report>) => resolve(event.data);
        worker.onerror = (event) => reject(new Error(event.message));
    });
    await fetch('/report', { method: 'POST', body: JSON.stringify(report) });
}

document.addEventListener('securitypolicyviolation', (event) => {
    console.error(`content policy: ${event.effectiveDirective}`);
});
trustOwnScripts();
await run();
