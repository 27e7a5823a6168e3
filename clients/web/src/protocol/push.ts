/**
 * What a push says (spec 08, "Paging"): one of four sentences in 64 bytes, three of them with a page's id. Everything else means
 * that something waits: whatever a newer server says, a person is told no less than that, and no words but our own are shown.
 */
import type { PageId } from './ids';

export type Push =
    { readonly kind: 'waiting' } | { readonly kind: 'consult' | 'test' | 'probe'; readonly page: PageId };

const SENTENCES: readonly (readonly ['consult' | 'test' | 'probe', RegExp])[] = [
    ['consult', /^a consult is waiting ([0-9a-f]{32}) *$/],
    ['test', /^a test is waiting ([0-9a-f]{32}) *$/],
    ['probe', /^probe ([0-9a-f]{32}) *$/],
];

export function readPush(text: string): Push {
    for (const [kind, sentence] of SENTENCES) {
        const page = sentence.exec(text)?.[1];
        if (page !== undefined) return { kind, page: page as PageId };
    }
    return { kind: 'waiting' };
}
