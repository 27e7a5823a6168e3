// axe-core on every scene, light and dark, and targets that a finger hits: `node e2e/axe.mjs [part of a name ...]`, or
// `node e2e/axe.mjs 2/4` for the second quarter of them.
// Exits 1 on a violation (WCAG 2.2 AA, and 48 CSS pixels of clients/web's own).
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chosen, onStage, show } from './scenes.mjs';
import { smallTargets } from './targets.mjs';

const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
/** The dark is the same page in other colours, so that these rules alone can find something new in it. */
const ofColours = ['color-contrast', 'link-in-text-block'];
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** In the page: its other colours, once they are drawn. */
function inTheDark() {
    document.documentElement.dataset.theme = 'dark';
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}

const failed = await onStage(async (stage) => {
    let count = 0;
    let looked = 0;
    for (const scene of chosen(stage.scenes, process.argv.slice(2))) {
        for (const theme of ['light', 'dark']) {
            if (theme === 'light') {
                await show(stage, scene, { theme, lang: 'en' });
                // Given through the debugger: the page's own policy stays as it is.
                await stage.page.evaluate(axe);
            } else {
                await stage.page.evaluate(inTheDark);
            }
            const { violations } = await stage.page.evaluate(
                (runOnly) => globalThis.axe.run({ runOnly, resultTypes: ['violations'] }),
                theme === 'light' ? { type: 'tag', values: tags } : { type: 'rule', values: ofColours },
            );
            if (scene.without && (await stage.page.$(scene.without)) !== null) {
                count += 1;
                console.error(`${scene.name} (${theme}): must not be there: ${scene.without}`);
            }
            // As large in the dark.
            const small = theme === 'light' ? await stage.page.evaluate(smallTargets, 48) : [];
            for (const target of small) {
                count += 1;
                console.error(`${scene.name}: smaller than 48 pixels: ${target}`);
            }
            looked += 1;
            for (const { id, help, nodes } of violations) {
                count += 1;
                console.error(`${scene.name} (${theme}): ${id}: ${help}`);
                for (const node of nodes.slice(0, 3))
                    console.error(`    ${node.target.join(' ')}: ${node.html.slice(0, 160)}`);
            }
        }
    }
    for (const complaint of new Set(stage.complaints)) console.error(complaint);
    console.log(
        `${looked} looked at, ${count} violations, ${stage.complaints.length} complaints of the page`,
    );
    return count + stage.complaints.length;
});
process.exit(failed > 0 ? 1 : 0);
