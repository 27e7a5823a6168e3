/**
 * This device and its pages, and who is on call now. What a screen asked for once is asked again now and then, and told anew.
 */
import type { OnCallApi } from '~/link/on-call-api';

import type { DutyView, OnCallView, PageId, PagePath } from '../on-call';
import { isExpected } from './errors';
import { same } from './people';
import type { Work } from './work';

const LOOK_MS = 30_000;

export class Duty {
    private told: OnCallView | null = null;
    private looking = false;

    constructor(private readonly work: Work) {}

    private get api(): OnCallApi {
        return this.work.consults.api;
    }

    async onCall(): Promise<OnCallView> {
        const now = await this.ask();
        if (!this.looking) {
            this.looking = true;
            this.work.parts.life.begin(() => this.run());
        }
        return now;
    }

    async duty(): Promise<DutyView> {
        return this.tell(await this.api.duty());
    }

    async set(on: boolean, sound: boolean): Promise<DutyView> {
        return this.tell(await this.api.putDuty(on, sound));
    }

    async testPage(): Promise<PageId> {
        return (await this.api.testPage()).page;
    }

    async paths(page: PageId): Promise<readonly PagePath[]> {
        return (await this.api.page(page)).paths;
    }

    /** It changed, or will: ask again, if a screen ever did. Rejects with `ApiError`. */
    async look(): Promise<void> {
        if (this.looking) await this.ask();
    }

    private async ask(): Promise<OnCallView> {
        const { nowMs, rotas, warnings } = await this.api.onCall();
        const now: OnCallView = { atMs: nowMs, rotas, warnings };
        const { told } = this;
        this.told = now;
        // The time of asking alone is no news.
        if (told !== null && !same({ ...told, atMs: 0 }, { ...now, atMs: 0 }))
            this.work.parts.put({ kind: 'on_call', onCall: now });
        return now;
    }

    private async run(): Promise<void> {
        for (;;) {
            await this.work.parts.life.sleep(LOOK_MS);
            if (!this.work.isOnline) continue;
            await this.ask().catch((error: unknown) => {
                if (!isExpected(error)) throw error;
            });
        }
    }

    private tell(duty: DutyView): DutyView {
        this.work.parts.put({ kind: 'duty', duty });
        return duty;
    }
}
