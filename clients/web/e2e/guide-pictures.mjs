// The pictures of the guides: `node e2e/guide-pictures.mjs FOLDER`. Light, in English, and small enough for a repository.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { indexed } from './indexed-png.mjs';
import { onStage, show } from './scenes.mjs';

/** Picture by scene. */
const pictures = new Map([
    ['start-pending', 'start-pending'],
    ['home-assigned', 'home-assigned'],
    ['chat-offline', 'chat-offline'],
    ['desk-busy', 'desk'],
    ['desk-assign', 'desk-assign'],
    ['psychiatrist-home', 'psychiatrist-home'],
    ['psychiatrist-ring', 'psychiatrist-ring'],
    ['psychiatrist-room-wide', 'consult-room'],
    ['call-team-consent', 'call-consent'],
    ['call-team-holds', 'call-phone'],
    ['call-doctor-five-wide', 'call-desk'],
    ['call-guest-live', 'call-guest'],
    ['supervisor-queue', 'supervisor-queue'],
    ['supervisor-rotas', 'supervisor-rota'],
]);
/** A page shows the telephone small, and screens are fine; of the desk's 1,440 px it has room for 1,200. */
const PHONE_SCALE = 2;
const DESK_SCALE = 1_200 / 1_440;
const MOST_BYTES = 80_000;

const [folder] = process.argv.slice(2);
if (!folder) {
    console.error('usage: node e2e/guide-pictures.mjs FOLDER');
    process.exit(64);
}
await mkdir(folder, { recursive: true });

const complaints = await onStage(async (stage) => {
    const found = [];
    for (const [name, picture] of pictures) {
        const scene = stage.scenes.find((one) => one.name === name);
        if (!scene) throw new Error(`no scene ${name}`);
        const scale = scene.wide ? DESK_SCALE : PHONE_SCALE;
        await show(stage, scene, { theme: 'light', lang: 'en', scale });
        const bytes = await indexed(stage.page, await stage.page.screenshot());
        if (bytes.length > MOST_BYTES) found.push(`${picture}.png: ${bytes.length} bytes`);
        await writeFile(join(folder, `${picture}.png`), bytes);
    }
    return [...found, ...stage.complaints];
});
for (const complaint of new Set(complaints)) console.error(complaint);
process.exit(complaints.length > 0 ? 1 : 0);
