/**
 * What a telephone dials of a number as a person wrote it: its digits up to the first word, without what stands between
 * them. "+1 (555) 0100, code 4711#" dials +15550100; its code is read from the screen.
 */
export function dialled(number: string): string {
    const first = /^[^0-9+*#]*([+]?[0-9*#][0-9*# ().\/-]*)/.exec(number);
    return (first?.[1] ?? '').replace(/[^0-9+*#]/g, '');
}
