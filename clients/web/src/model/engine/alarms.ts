/**
 * What someone may be doing to this device or its channels, told in red and kept until the device forgets all.
 *
 * Note written: `alarms`, the newest thousand: a server that errs more often must not fill this device with the news of it.
 */
import type { AlarmView, EngineEvent } from '../engine';
import type { History } from '../ports';
import type { Alarm } from './home';
import type { Life } from './life';
import { noteOf, readNote } from './notes';

const KEPT = 1_000;
const NOTE = 'alarms';

export class Alarms {
    private constructor(
        private readonly life: Life,
        private readonly history: History,
        private readonly put: (event: EngineEvent) => void,
        private readonly nowMs: () => number,
        private list: AlarmView[],
    ) {}

    static async restore(
        life: Life,
        history: History,
        put: (event: EngineEvent) => void,
        nowMs: () => number,
    ): Promise<Alarms> {
        const list = (readNote(await history.note(NOTE)) ?? []) as AlarmView[];
        return new Alarms(life, history, put, nowMs, list);
    }

    views(): readonly AlarmView[] {
        return this.list;
    }

    /** One that stands unsettled already is told again under its number, not beside it. */
    report(alarm: Alarm): void {
        const { channel, kind, code, stopsSending, device = null } = alarm;
        const standing = this.list.find(
            (one) =>
                !one.settled &&
                one.channel === channel &&
                one.kind === kind &&
                one.code === code &&
                one.device === device,
        );
        const seq = standing?.seq ?? (this.list.at(-1)?.seq ?? 0) + 1;
        this.take({ seq, kind, channel, device, code, stopsSending, atMs: this.nowMs(), settled: false });
    }

    /** A person saw it and decided to go on. Null when there is none of that number. */
    settle(seq: number): AlarmView | null {
        const alarm = this.list.find((one) => one.seq === seq);
        if (alarm === undefined) return null;
        this.take({ ...alarm, settled: true });
        return alarm;
    }

    private take(alarm: AlarmView): void {
        const others = this.list.filter((one) => one.seq !== alarm.seq);
        this.list = [...others, alarm].sort((a, b) => a.seq - b.seq).slice(-KEPT);
        this.life.begin(() => this.history.keepNotes(new Map([[NOTE, noteOf(this.list)]])));
        this.put({ kind: 'alarm', alarm });
    }
}
