/** Bytes as text and back: lowercase hexadecimal, and base64 (RFC 4648): with padding as HTTP carries it. */

import { ProtocolError, WireError } from '~/protocol/errors';

/** The one kind of bytes here: over a buffer of its own kind, which WebCrypto and IndexedDB take. */
export type Bytes = Uint8Array<ArrayBuffer>;

declare const hexadecimal: unique symbol;
/** A name as lowercase hexadecimal text, two digits a byte; its order is that of the bytes. */
export type Hex = string & { readonly [hexadecimal]: true };

export const NO_BYTES: Bytes = new Uint8Array(0);

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const HEX = /^(?:[0-9a-f]{2})*$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** `String.fromCharCode` takes its arguments from the stack: no more at once than any engine allows. */
const SLICE_BYTES = 8192;

/** Lowercase hexadecimal digits. */
export function toHex(bytes: Uint8Array): Hex {
    let text = '';
    for (const byte of bytes) text += DIGITS[byte] ?? '';
    return text as Hex;
}

/** Bytes of lowercase hexadecimal digits; anything else is `invalid`. */
export function fromHex(text: string): Bytes {
    if (!HEX.test(text)) throw new ProtocolError(WireError.invalid, 'not lowercase hexadecimal digits');
    const bytes = new Uint8Array(text.length / 2);
    for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
    return bytes;
}

/** Base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
    let text = '';
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
        text += String.fromCharCode(...bytes.subarray(at, at + SLICE_BYTES));
    }
    return btoa(text);
}

/** Bytes of base64 with padding; anything else is `invalid`. */
export function fromBase64(text: string): Bytes {
    if (!BASE64.test(text)) throw new ProtocolError(WireError.invalid, 'not base64 with padding');
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Base64 for addresses (RFC 4648, section 5), without padding. */
export function toBase64Url(bytes: Uint8Array): string {
    return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Bytes of base64 for addresses, padded or not; anything else is `invalid`. */
export function fromBase64Url(text: string): Bytes {
    const plain = text.replaceAll('-', '+').replaceAll('_', '/').replaceAll('=', '');
    return fromBase64(plain.padEnd(Math.ceil(plain.length / 4) * 4, '='));
}

/** Whether both hold the same bytes. Not for secrets: it takes longer the more agrees. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
    return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

const TO_UTF8 = new TextEncoder();

export function utf8(text: string): Bytes {
    return TO_UTF8.encode(text);
}

/** All parts in one, in their order. */
export function concat(parts: readonly Uint8Array[]): Bytes {
    const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
        out.set(part, at);
        at += part.length;
    }
    return out;
}

/**
 * Pre-authentication encoding (spec 04, "Encoding"): u32 count, then u32 length and bytes of each part, big-endian. Two
 * different lists of parts never give the same bytes.
 */
export function pae(...parts: readonly Uint8Array[]): Bytes {
    const out = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 4));
    const view = new DataView(out.buffer);
    view.setUint32(0, parts.length);
    let at = 4;
    for (const part of parts) {
        view.setUint32(at, part.length);
        out.set(part, at + 4);
        at += 4 + part.length;
    }
    return out;
}
