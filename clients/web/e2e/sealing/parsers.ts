/** Every parser, held against the Python one: on bytes bent at random, both must end in the same code. */

import { fromHex, type Bytes } from '~/protocol/bytes';
import { codeOf } from '~/sealing/conformance/vectors';
import { decodeBody } from '~/sealing/opening/body';
import { decodeArchive, parseArchiveLabel } from '~/sealing/public/archive';
import { decodeBox } from '~/sealing/public/boxes';
import { parseCommit } from '~/sealing/public/commit';
import { parseDeviceKey } from '~/sealing/public/device-key';
import { type Hex, decode, encode, hex } from '~/sealing/public/encoding';
import { decodeSignedEntry, parseEntry } from '~/sealing/public/entries';
import { parseFrame } from '~/sealing/public/frame';
import { decodeSealedGrant, parseGrant } from '~/sealing/public/grant';
import { type Signed, decodeSigned } from '~/sealing/public/signed';
import { type Checks, same } from './report';

/** `tests/web/test_sealing_parsers.py` writes it: by parser, inputs with the code that Python's ends in. */
export interface Bent {
    /** Who signs what is parsed, where that matters. */
    readonly signer: string;
    readonly cases: Readonly<Record<string, readonly (readonly [string, string | null])[]>>;
}

function parsers(signer: Hex): Readonly<Record<string, (data: Bytes) => unknown>> {
    const signed = (payload: Bytes): Signed => ({ payload, signer, signature: new Uint8Array(64) });
    return {
        plain: (data) => decode(data),
        maps: (data) => {
            // What is read is written so that it reads the same.
            const values = decode(data, { maps: true });
            same(JSON.stringify(decode(encode(values), { maps: true })), JSON.stringify(values));
        },
        signed: (data) => decodeSigned(data),
        entry: parseEntry,
        'signed entry': (data) => decodeSignedEntry(data),
        'device key': parseDeviceKey,
        commit: (data) => parseCommit(signed(data)),
        box: (data) => decodeBox(data),
        frame: (data) => parseFrame(data),
        body: (data) => decodeBody(data),
        grant: (data) => parseGrant(signed(data)),
        'sealed grant': (data) => decodeSealedGrant(data),
        'archive label': (data) => parseArchiveLabel(signed(data)),
        archive: (data) => decodeArchive(data),
    };
}

export async function checkParsers(checks: Checks, bent: Bent | null): Promise<void> {
    const group = 'parsers against Python';
    if (bent === null) {
        checks.skip(group, 'nothing of the other client was given (--parsers)');
        return;
    }
    for (const [name, parse] of Object.entries(parsers(hex(fromHex(bent.signer))))) {
        await checks.check(group, name, async () => {
            for (const [data, code] of bent.cases[name] ?? []) {
                const found = await codeOf(() => parse(fromHex(data)));
                if (found !== code)
                    throw new Error(`${String(found)} for ${data}, ${String(code)} in Python`);
            }
            same((bent.cases[name] ?? []).length > 0, true);
        });
    }
}
