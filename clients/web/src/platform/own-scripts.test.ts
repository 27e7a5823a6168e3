import { describe, expect, it } from 'vitest';
import { ownScript } from './own-scripts';

const PAGE = 'https://relay.example/#unit/7';

describe('a script', () => {
    it.each(['/assets/worker-1.js', 'https://relay.example/service-worker.js', 'assets/x.js', PAGE])(
        'of our own runs: %s',
        (url) => {
            expect(ownScript(url, PAGE)).toBe(url);
        },
    );

    it.each([
        'https://evil.example/x.js',
        '//evil.example/x.js',
        'https://relay.example.evil.example/x.js',
        'https://relay.example:8443/x.js',
        'http://relay.example/x.js',
        'data:text/javascript,alert(1)',
        'blob://',
        'blob:https://relay.example/5c6b0e0a-3a5c-4a52-9d0c-5f8b8a4c3f10',
        'javascript:alert(1)',
        'https://',
    ])('of anybody else does not: %s', (url) => {
        expect(ownScript(url, PAGE)).toBeNull();
    });
});
