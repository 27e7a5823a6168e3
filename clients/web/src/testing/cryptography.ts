/**
 * How much of WebCrypto is under way. It works on threads that know nothing of a test's clock: on a busy machine hours of a
 * fake clock could pass while one signature is made.
 */
let underWay = 0;

export function cryptographyIsDone(): boolean {
    return underWay === 0;
}

for (const name of Object.getOwnPropertyNames(SubtleCrypto.prototype)) {
    const real: unknown = Reflect.get(crypto.subtle, name);
    if (name === 'constructor' || typeof real !== 'function') continue;
    Object.defineProperty(crypto.subtle, name, {
        value: (...given: unknown[]): unknown => {
            const made: unknown = Reflect.apply(real, crypto.subtle, given);
            if (!(made instanceof Promise)) return made;
            underWay += 1;
            return made.finally(() => (underWay -= 1));
        },
    });
}
