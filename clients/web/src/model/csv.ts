/** Tables for other programs: RFC 4180, with CRLF. Pure. */

/** A cell that a spreadsheet would run as a formula is kept from it with an apostrophe, as OWASP advises. */
const FORMULA = /^[=+\-@\t\r]/;

function cell(value: string | number | null): string {
    if (value === null) return '';
    const text = typeof value === 'string' && FORMULA.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(rows: readonly (readonly (string | number | null)[])[]): string {
    return rows.map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}
