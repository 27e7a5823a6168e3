/**
 * Enrolling this browser: keys made here, a one-time code presented, a person who approves. Spec chapter 02, "Enrolment".
 */
import type { Api } from '~/link/api';
import { ApiError } from '~/link/errors';
import { type Bytes, fromHex, sameBytes } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { DeviceKeys } from '~/sealing/opening/keys';
import { shortCode } from '~/sealing/public/enrolment';
import { agencyIdOf } from '~/sealing/public/entries';
import { encodeSigned } from '~/sealing/public/signed';

import type { LocalStore, Stores } from '../ports';
import { EngineFailure } from './errors';
import { type Identity, keepIdentity, keepKeys, loadKeys } from './identity';

export interface Enrolled {
    readonly identity: Identity;
    readonly keys: DeviceKeys;
    readonly stores: Stores;
}

/**
 * Make keys, present the code, and pin the root. Wipes what was made when it fails: nothing half-enrolled stays.
 *
 * Rejects with `EngineFailure`: `wrong_root`, `wrong_code`, `code_expired`, `unfit_browser`; with `ApiError` when the server
 * cannot be reached.
 */
export async function enrol(
    store: LocalStore,
    api: Api,
    request: { readonly code: string; readonly root: string; readonly pin?: string },
): Promise<Enrolled> {
    const rootPublic = rootOf(request.root);
    // By the server's clock: a key that begins tomorrow, because a phone is a day ahead, could not be sealed to today.
    const { serverMs } = await api.server();
    const fresh = await makeKeys(serverMs, request.pin !== undefined);
    const stores = await store.create(request.pin);
    try {
        await keepKeys(stores.vault, fresh);
        const keys = await loadKeys(stores.vault);
        if (keys === null) throw new EngineFailure('failed');
        const answer = await api
            .redeem({
                code: request.code.trim(),
                publicKey: keys.identity.public,
                proof: await keys.enrolmentProof(request.code.trim()),
                deviceKey: encodeSigned(keys.newest),
            })
            .catch(codeRefused);
        const agency = await agencyIdOf(rootPublic);
        if (answer.agency !== agency || !sameBytes(answer.rootPub, rootPublic)) {
            throw new EngineFailure('wrong_root');
        }
        if (answer.device !== keys.deviceId) throw new EngineFailure('failed');
        const identity: Identity = {
            agency,
            member: answer.member,
            device: answer.device,
            rootPublic,
            approved: false,
            pin: request.pin !== undefined,
        };
        await keepIdentity(stores.vault, identity);
        return { identity, keys, stores };
    } catch (error) {
        stores.close();
        await store.wipe();
        throw error;
    }
}

/** What two people compare, computed from the keys here: the server's word about it is not asked. */
export async function ownShortCode(keys: DeviceKeys): Promise<string> {
    return await shortCode(keys.identity.public, keys.newest.payload);
}

function rootOf(text: string): Bytes {
    if (!/^[0-9a-f]{64}$/.test(text)) throw new EngineFailure('wrong_root');
    return fromHex(text);
}

async function makeKeys(nowMs: number, underPin: boolean): Promise<DeviceKeys> {
    try {
        return await DeviceKeys.create(nowMs, underPin);
    } catch {
        // No Ed25519 or X25519 here, and no other curve is a substitute.
        throw new EngineFailure('unfit_browser');
    }
}

function codeRefused(error: unknown): never {
    if (!(error instanceof ApiError) || !error.told) throw error;
    if (error.number === WireError.expired) throw new EngineFailure('code_expired');
    if (error.number === WireError.not_found || error.number === WireError.invalid) {
        throw new EngineFailure('wrong_code');
    }
    throw error;
}
