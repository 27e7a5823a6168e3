/** How the double of the server answers over HTTP. */
import type { HttpAnswer } from '~/link/ports';
import { type Bytes, NO_BYTES, utf8 } from '~/protocol/bytes';
import { wireLabel } from '~/protocol/errors';
import type { DeviceId, MemberId } from '~/protocol/ids';
import { jsonText } from '~/protocol/json';
import { pack, unpack, type Value } from '~/protocol/pack';

/** Whose signature a signed object carries. */
export function signerOf(signed: Bytes): Bytes {
    const value = unpack(signed);
    const signer = Array.isArray(value) ? (value as readonly Value[])[1] : null;
    return signer instanceof Uint8Array ? signer : NO_BYTES;
}

export function parsed(body: Bytes): unknown {
    return JSON.parse(new TextDecoder().decode(body));
}

function answer(status: number, body: Bytes): HttpAnswer {
    return { status, header: () => null, body };
}

export const json = (value: object, status = 200): HttpAnswer => answer(status, utf8(jsonText(value)));
export const msgpack = (value: Value, status = 200): HttpAnswer => answer(status, pack(value));
export const bytes = (body: Bytes): HttpAnswer => answer(200, body);
export const none = (): HttpAnswer => answer(204, NO_BYTES);

/** What the double does not do, as a server says it. */
export class Refusal extends Error {
    constructor(
        readonly number: number,
        readonly head = 0,
        readonly person = '',
    ) {
        super('refused');
    }

    answer(): HttpAnswer {
        const { number, head, person } = this;
        const code = wireLabel(number);
        return json({ code, number, mayRetry: number < 200, head, sealingCode: '', person }, 409);
    }
}

/** A device as the double keeps it. */
export interface Device {
    readonly id: DeviceId;
    readonly member: MemberId;
    readonly publicKey: Bytes;
    deviceKey: Bytes;
    state: 'pending' | 'active' | 'revoked';
    readonly createdMs: number;
}
