import { describe, expect, test } from 'vitest';
import { BodyError, CONTENT_TYPES, placeOf, readContent, writeContent } from '~/protocol/bodies';
import { toHex } from '~/protocol/bytes';
import { asId, type DeviceId, idBytes, type UnitId } from '~/protocol/ids';
import { Misfit, unpack, type Value } from '~/protocol/pack';
import { readVectors, vectorBytes, type Vectors } from '~/protocol/read-vectors';
import { Lane, Urgency } from '~/protocol/words';

const vectors = readVectors('bodies') as Vectors<{ type: string; data: unknown }, { error: string }>;

/** The outer array as sealing reads it; what it refuses there is `E_ENCODING`, and is tested there. */
function outer(data: Uint8Array): { type: string; data: Value } | null {
    let value: Value;
    try {
        value = unpack(data);
    } catch (error) {
        if (error instanceof Misfit) return null;
        throw error;
    }
    if (!Array.isArray(value) || value.length !== 5) return null;
    const [type, , id, seen, inner] = value as [Value, Value, Value, Value, Value];
    if (typeof type !== 'string' || !(id instanceof Uint8Array) || id.length !== 16) return null;
    if (Array.isArray(seen) && (seen[1] as Uint8Array).length !== 32) return null;
    return { type, data: inner };
}

/** A content by position, bytes as `{bin}`, as the vectors write it. */
function positions(value: unknown): unknown {
    if (value instanceof Uint8Array) return { bin: toHex(value) };
    if (typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)) return { bin: value };
    if (typeof value === 'object' && value !== null) return Object.values(value).map(positions);
    return value;
}

describe('the vectors of bodies', () => {
    test.each(vectors.valid.map((v) => [v.name, v] as const))('%s', (_, vector) => {
        const body = outer(vectorBytes(vector));
        if (body === null) throw new Error('the outer array does not fit');
        expect(body.type).toBe(vector.type);
        const content = readContent(body.type, body.data);
        if (content.type === 'unsupported') {
            expect(CONTENT_TYPES).not.toContain(vector.type);
            return;
        }
        const { type, ...rest } = content;
        expect(type).toBe(vector.type);
        expect(positions(rest)).toEqual(vector.data);
        const written = writeContent(content);
        expect(readContent(written.type, written.data)).toEqual(content);
    });

    test.each(vectors.invalid.map((v) => [v.name, v] as const))('%s is refused', (_, vector) => {
        const body = outer(vectorBytes(vector));
        if (body === null) {
            // A map is refused by this reader already, and by sealing's only where none may stand.
            expect(['E_ENCODING', 'E_BODY']).toContain(vector.error);
            return;
        }
        expect(vector.error).toBe('E_BODY');
        expect(() => readContent(body.type, body.data)).toThrow(BodyError);
    });

    test('every type has a valid vector', () => {
        const named = new Set(vectors.valid.map((v) => v.type));
        expect(CONTENT_TYPES.filter((type) => !named.has(type))).toEqual([]);
    });
});

describe('writing', () => {
    const device = asId<DeviceId>('ab'.repeat(16));
    const unit = asId<UnitId>('cd'.repeat(16));

    test('what is beyond its bounds is refused to the one who writes it', () => {
        const text = (value: string) =>
            writeContent({ type: 'text', urgency: Urgency.routine, text: value, repeatS: 0, replyTo: null });
        expect(() => text('')).toThrow(BodyError);
        expect(() => text('x'.repeat(8_001))).toThrow(BodyError);
        expect(() => text('half a pair \ud800')).toThrow(BodyError);
        // Counted in code points, as every language counts them: 8,000 of them are 16,000 units of UTF-16.
        expect(text('\u{1f7e2}'.repeat(8_000)).data).toHaveLength(2);
        expect(() => text('\u{1f7e2}'.repeat(8_001))).toThrow(BodyError);
    });

    test('a fraction is no position', () => {
        const fix = {
            latE7: 1.5,
            lonE7: 0,
            accuracyM: 0,
            fixMs: 0,
            coarseM: 0,
            headingDeg: null,
            speedCmS: null,
            batteryPercent: null,
        };
        expect(() => writeContent({ type: 'position', fix })).toThrow(BodyError);
    });

    test('each content has its one lane and key', () => {
        expect(placeOf({ type: 'typing', on: true }, device)).toEqual({
            lane: Lane.stream,
            key: `74${device}`,
        });
        expect(placeOf({ type: 'unit_name', unit, name: 'Crisis 7' }, device)).toEqual({
            lane: Lane.state,
            key: `6e${unit}`,
        });
        expect(placeOf({ type: 'timeline', mark: 5, unit, note: '' }, device)).toEqual({
            lane: Lane.log,
            key: '',
        });
        expect(idBytes(placeOf({ type: 'typing', on: true }, device).key)).toHaveLength(17);
    });
});
