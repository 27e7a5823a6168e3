/** A device that pretends: it refuses nothing, sounds nothing, and is nowhere. */
import type { Handset } from '~/model/handset';

export function fakeHandset(change: Partial<Handset> = {}): Handset {
    const settings = new Map<string, string>();
    return {
        languages: ['en'],
        placeStopsInBackground: true,
        setting: (name) => settings.get(name) ?? '',
        keepSetting: (name, value) => void settings.set(name, value),
        armSound: () => Promise.resolve(true),
        soundArmed: true,
        sound: () => undefined,
        watchPlace: () => () => undefined,
        lastPlace: () => Promise.resolve(null),
        stayAwake: () => Promise.resolve(true),
        redraw: (picture) => Promise.resolve(picture),
        passkey: () => Promise.resolve(null),
        provePerson: () => Promise.resolve(true),
        agencySignIn: () => undefined,
        captioner: () =>
            Promise.resolve({
                state: () => Promise.resolve('here'),
                listen: (_tracks, _language, ears) => {
                    ears.heard('It is me, from March. What did he take today?', true);
                    ears.heard('And does he', false);
                    return () => undefined;
                },
            }),
        push: () => Promise.resolve('off'),
        subscribePush: () => Promise.resolve(null),
        unsubscribePush: () => Promise.resolve(),
        onUpdate: () => undefined,
        takeUpdate: () => undefined,
        reload: () => undefined,
        useHere: () => undefined,
        ...change,
    };
}
