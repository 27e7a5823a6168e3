/** One exchange over `fetch`, with the server that the page came from and no other. */

import type { Http } from '~/model/ports';
import { type HttpAnswer, HttpFailed, type HttpRequest } from '~/link/ports';
import { type Bytes } from '~/protocol/bytes';

export class BrowserHttp implements Http {
    readonly #origin: string;

    constructor(origin: string) {
        this.#origin = origin;
    }

    async exchange(request: HttpRequest): Promise<HttpAnswer> {
        const limit = AbortSignal.timeout(request.timeoutMs);
        const signal = request.signal === undefined ? limit : AbortSignal.any([limit, request.signal]);
        if (signal.aborted) throw new HttpFailed(false);
        // Asked before: a network that went away meanwhile says nothing of what left.
        const offline = !navigator.onLine;
        try {
            const response = await fetch(this.#origin + request.path, {
                method: request.method,
                headers: request.headers,
                ...(request.body === undefined ? {} : { body: request.body }),
                signal,
                cache: 'no-store',
                credentials: 'omit',
                redirect: 'error',
                referrerPolicy: 'no-referrer',
                mode: 'same-origin',
            });
            return {
                status: response.status,
                header: (name) => response.headers.get(name),
                body: await bounded(response, request.maxBytes),
            };
        } catch {
            // A browser does not tell whether anything left; only that there was no network at all.
            throw new HttpFailed(!offline);
        }
    }
}

async function bounded(response: Response, maxBytes: number): Promise<Bytes> {
    if (response.body === null) return new Uint8Array(0);
    const reader = response.body.getReader();
    const parts: Uint8Array[] = [];
    let size = 0;
    for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        size += value.length;
        if (size > maxBytes) {
            await reader.cancel();
            throw new HttpFailed(true);
        }
        parts.push(value);
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
        whole.set(part, at);
        at += part.length;
    }
    return whole;
}
