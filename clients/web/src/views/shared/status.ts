/** How each unit status looks: a shape, a colour and a word. The three say the same. */
import type { PrimaryStatus, SecondaryStatus } from '~/model/engine';
import type { Key } from '~/words/words.svelte';

export type Shape =
    | 'disc'
    | 'half'
    | 'square'
    | 'triangle'
    | 'chevron'
    | 'chevrons'
    | 'diamond'
    | 'ring'
    | 'target'
    | 'cross'
    | 'barred'
    | 'bars'
    | 'octagon'
    | 'star';
export type Colour = 'green' | 'sky' | 'blue' | 'orange' | 'yellow' | 'vermilion' | 'purple' | 'grey';

export interface Look {
    readonly shape: Shape;
    readonly colour: Colour;
    readonly word: Key;
}

const primary: Readonly<Record<PrimaryStatus, Look>> = {
    Available: { shape: 'disc', colour: 'green', word: 'status.Available' },
    ConditionallyAvailable: { shape: 'half', colour: 'yellow', word: 'status.ConditionallyAvailable' },
    NotAvailable: { shape: 'square', colour: 'grey', word: 'status.NotAvailable' },
};

const secondary: Readonly<Record<SecondaryStatus, Look>> = {
    Dispatched: { shape: 'triangle', colour: 'orange', word: 'status.Dispatched' },
    AcknowledgedTransmission: {
        shape: 'triangle',
        colour: 'yellow',
        word: 'status.AcknowledgedTransmission',
    },
    EnRoute: { shape: 'chevron', colour: 'sky', word: 'status.EnRoute' },
    Staging: { shape: 'bars', colour: 'sky', word: 'status.Staging' },
    Arrived: { shape: 'diamond', colour: 'blue', word: 'status.Arrived' },
    OnScene: { shape: 'diamond', colour: 'blue', word: 'status.OnScene' },
    PatientContact: { shape: 'target', colour: 'purple', word: 'status.PatientContact' },
    Transporting: { shape: 'chevrons', colour: 'sky', word: 'status.Transporting' },
    Hospital: { shape: 'cross', colour: 'purple', word: 'status.Hospital' },
    Delayed: { shape: 'bars', colour: 'orange', word: 'status.Delayed' },
    Cleared: { shape: 'ring', colour: 'green', word: 'status.Cleared' },
    InService: { shape: 'disc', colour: 'green', word: 'status.InService' },
    OutofService: { shape: 'barred', colour: 'vermilion', word: 'status.OutofService' },
    OnDuty: { shape: 'disc', colour: 'green', word: 'status.OnDuty' },
    OffDuty: { shape: 'square', colour: 'grey', word: 'status.OffDuty' },
    Break: { shape: 'bars', colour: 'grey', word: 'status.Break' },
    Consulting: { shape: 'star', colour: 'purple', word: 'status.Consulting' },
};

export const statusOf = {
    primary: Object.keys(primary) as readonly PrimaryStatus[],
    secondary: Object.keys(secondary) as readonly SecondaryStatus[],
};

/** The finer status says what a unit does; without one, the coarse one. */
export function look(first: PrimaryStatus, second: SecondaryStatus | null): Look {
    return second ? secondary[second] : primary[first];
}

/** A unit that never said a status, or whose status is not known here. */
export const unknownLook: Look = { shape: 'ring', colour: 'grey', word: 'status.unknown' };
export const duressLook: Look = { shape: 'octagon', colour: 'vermilion', word: 'status.duress' };
