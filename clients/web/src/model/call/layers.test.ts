import { describe, expect, it } from 'vitest';
import { layersFor } from './layers';

const on = (lines: number, mode: Parameters<typeof layersFor>[1]): string =>
    layersFor(lines, mode)
        .filter(({ active }) => active)
        .map(({ rid, scale }) => `${rid}/${scale}`)
        .join(' ');

describe('layers', () => {
    it('are those that the camera fills', () => {
        expect(on(720, 'video')).toBe('q/4 h/2 f/1');
        expect(on(1080, 'video')).toBe('q/6 h/3 f/1.5');
        expect(on(540, 'video')).toBe('q/3 h/1.5 f/1');
        expect(on(480, 'video').split(' ')).toHaveLength(2);
        expect(on(360, 'video')).toBe('q/2 h/1');
        expect(on(120, 'video')).toBe('q/1');
    });

    it('are the smallest alone on a poor link, and none without a picture', () => {
        expect(on(720, 'smaller')).toBe('q/4');
        expect(on(720, 'audio')).toBe('');
        expect(on(720, 'text')).toBe('');
    });

    it('are named whether they are on or not: a browser keeps them all', () => {
        expect(layersFor(360, 'audio').map(({ rid }) => rid)).toEqual(['q', 'h', 'f']);
    });
});
