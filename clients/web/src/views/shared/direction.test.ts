/** Ready for languages that are read from the right: no style says left or right where it means the beginning or the end. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const views = join(import.meta.dirname, '..');
const SIDED =
    /(?:^|[\s;{])(?:left|right|float|(?:margin|padding|border|scroll-margin|scroll-padding)-(?:left|right)[a-z-]*|border-(?:top|bottom)-(?:left|right)-radius)\s*:|text-align\s*:\s*(?:left|right)/;

function sided(text: string): string[] {
    return text.split('\n').filter((line) => SIDED.test(line));
}

test('a side is found where it is written', () => {
    expect(
        sided('.a {\n    margin-left: 1px;\n    inset-inline-start: 0;\n    text-align: right;\n}'),
    ).toHaveLength(2);
    expect(sided('.a { left: 0; }')).toHaveLength(1);
    expect(sided('    border-bottom-left-radius: 2px;')).toHaveLength(1);
});

test('no style of a view names a side', () => {
    const files = readdirSync(views, { recursive: true, encoding: 'utf8' }).filter((name) =>
        /\.(svelte|css)$/.test(name),
    );
    const styles = files.map((name): [string, string] => {
        const text = readFileSync(join(views, name), 'utf8');
        return [name, name.endsWith('.css') ? text : (/<style>([\s\S]*?)<\/style>/.exec(text)?.[1] ?? '')];
    });
    expect(styles.filter(([, style]) => style !== '').length).toBeGreaterThan(50);
    expect(styles.flatMap(([name, style]) => sided(style).map((line) => `${name}: ${line.trim()}`))).toEqual(
        [],
    );
});
