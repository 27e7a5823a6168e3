/** Light or dark, as the person chose; the system's otherwise. */
export const themes = ['system', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

export function isTheme(value: string): value is Theme {
    return (themes as readonly string[]).includes(value);
}

export function showTheme(wanted: string): void {
    const root = document.documentElement;
    if (wanted === 'light' || wanted === 'dark') root.dataset.theme = wanted;
    else delete root.dataset.theme;
}
