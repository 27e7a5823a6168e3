/**
 * What a finger must hit and is too small for it: evaluated in a page. A line each, empty where all is well.
 *
 * `least`: CSS pixels, both ways. The target of a field that a label holds is the label; what stands over an element as its
 * `::after` is hit as the element is. Left out, with WCAG 2.5.8: a link inside a sentence, as high as its line ("inline"),
 * and a mark on the map, which stands where it must and has its line in a list ("essential", "equivalent").
 */
export function smallTargets(least) {
    const reach = 'button, a[href], input, select, textarea, summary, [role="button"], [role="switch"]';
    const above = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document;
    const found = [];
    for (const element of above.querySelectorAll(reach)) {
        const target = element.matches('input') ? (element.closest('label') ?? element) : element;
        const box = target.getBoundingClientRect();
        const after = getComputedStyle(target, '::after');
        const over = after.content !== 'none' && after.position === 'absolute';
        const width = Math.max(box.width, over ? parseFloat(after.width) : 0);
        const height = Math.max(box.height, over ? parseFloat(after.height) : 0);
        const inSentence = element.matches('a') && getComputedStyle(element).display === 'inline';
        const placed = element.matches('.map .mark');
        if (!target.checkVisibility() || width === 0 || inSentence || placed) continue;
        // Half a pixel is how a browser rounds a layout.
        if (width < least - 0.5 || height < least - 0.5)
            found.push(`${Math.round(width)} x ${Math.round(height)}: ${target.outerHTML.slice(0, 160)}`);
    }
    return found;
}
