// One picture per scene and theme, and a sheet of them all: `node e2e/shots.mjs FOLDER [part of a name ...]`.
// To be looked at as a tired responder at night would.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chosen, onStage, show } from './scenes.mjs';

const [folder, ...words] = process.argv.slice(2);
if (!folder) {
    console.error('usage: node e2e/shots.mjs FOLDER [part of a name ...]');
    process.exit(64);
}
await mkdir(folder, { recursive: true });

const complaints = await onStage(async (stage) => {
    const figures = [];
    for (const scene of chosen(stage.scenes, words)) {
        for (const variant of [
            { theme: 'light', lang: 'en' },
            { theme: 'dark', lang: 'es' },
        ]) {
            const file = `${scene.name}-${variant.theme}.png`;
            await show(stage, scene, variant);
            await stage.page.screenshot({ path: join(folder, file) });
            figures.push(
                `<figure><img src="${file}" alt=""><figcaption>${scene.name}, ${variant.theme}, ${variant.lang}</figcaption></figure>`,
            );
        }
    }
    const style =
        'body{font:14px system-ui;display:flex;flex-wrap:wrap;gap:16px}img{border:1px solid #888;max-width:720px}';
    const sheet = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Leeside pictures</title><style>${style}</style><body>${figures.join('\n')}</body></html>`;
    await writeFile(join(folder, 'index.html'), sheet);
    console.log(`${figures.length} pictures: ${join(folder, 'index.html')}`);
    return stage.complaints;
});
for (const complaint of new Set(complaints)) console.error(complaint);
process.exit(complaints.length > 0 ? 1 : 0);
