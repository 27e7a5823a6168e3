/** Times as people say them, in the present language. All take milliseconds of Unix time. */
import { language, t } from './words.svelte';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
    const key = language() + JSON.stringify(options);
    let found = formatters.get(key);
    if (!found) {
        found = new Intl.DateTimeFormat(language(), options);
        formatters.set(key, found);
    }
    return found;
}

/** `14:02`, on the 24 hour clock that responders log by. */
export function clock(atMs: number): string {
    return formatter({ hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(atMs);
}

/** `Tuesday, 3 March`. */
export function day(atMs: number): string {
    return formatter({ weekday: 'long', day: 'numeric', month: 'long' }).format(atMs);
}

/** `14:02` today, `3 Mar, 14:02` on another day. */
export function when(atMs: number, nowMs: number): string {
    if (sameDay(atMs, nowMs)) return clock(atMs);
    return `${formatter({ day: 'numeric', month: 'short' }).format(atMs)}, ${clock(atMs)}`;
}

export function sameDay(aMs: number, bMs: number): boolean {
    return new Date(aMs).toDateString() === new Date(bMs).toDateString();
}

/** `now`, `2 min ago`, `3 h ago`, `4 d ago`. A time to come (a clock that is off) counts as now. */
export function age(atMs: number, nowMs: number): string {
    const ms = nowMs - atMs;
    if (ms < minuteMs) return t('age.now');
    if (ms < hourMs) return t('age.minutes', { n: Math.floor(ms / minuteMs) });
    if (ms < dayMs) return t('age.hours', { n: Math.floor(ms / hourMs) });
    return t('age.days', { n: Math.floor(ms / dayMs) });
}

/** `45 s`, `2 min`, `3 h 20 min`: how long something lasted. */
export function span(ms: number): string {
    if (ms < minuteMs) return t('span.seconds', { n: Math.max(0, Math.floor(ms / 1000)) });
    if (ms < hourMs) return t('span.minutes', { n: Math.floor(ms / minuteMs) });
    return t('span.hours', { h: Math.floor(ms / hourMs), m: Math.floor((ms % hourMs) / minuteMs) });
}

/** `0.9 s`, `48 s`, `1 min 30 s`, `3 h 20 min`: how long something took, where seconds matter. */
export function duration(ms: number): string {
    const seconds = Math.round(ms / 1000);
    if (seconds < 10) {
        const tenths = new Intl.NumberFormat(language(), { maximumFractionDigits: 1 }).format(ms / 1000);
        return t('span.seconds', { n: tenths });
    }
    if (seconds < 60 || seconds >= 3_600) return span(seconds * 1000);
    const [m, s] = [Math.floor(seconds / 60), seconds % 60];
    return s === 0 ? t('span.minutes', { n: m }) : t('span.minutes_seconds', { m, s });
}

/** `3 Mar, 20:00 – 4 Mar, 08:00`: from when until when, with the day whatever day it is. */
export function between(fromMs: number, untilMs: number): string {
    const options = {
        day: 'numeric',
        month: 'short',
        hour: '2-digit',
        minute: '2-digit',
        hourCycle: 'h23',
    } as const;
    return formatter(options).formatRange(fromMs, untilMs);
}

/** `0:40`, `12:05`: how long until something, in whole seconds, upward: it says 0:00 when it is due, and not before. */
export function countdown(ms: number): string {
    const seconds = Math.max(0, Math.ceil(ms / 1000));
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** Names as people list them: `Ana, Ben and Eva`. */
export function listed(names: readonly string[]): string {
    return new Intl.ListFormat(language(), { type: 'conjunction' }).format(names);
}
