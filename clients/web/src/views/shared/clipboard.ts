/** Whether it could be copied: a browser may refuse, and then a person copies it by hand. */
export async function copyText(text: string): Promise<boolean> {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        return false;
    }
}
