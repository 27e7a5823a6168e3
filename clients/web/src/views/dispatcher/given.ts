/** What the parts of the dispatcher's view share: the desk, the call being taken, and which sheet is open. */
import { createContext } from 'svelte';
import type { Desk } from '~/model/desk.svelte';
import type { Fix, UnitId } from '~/model/engine';
import type { Screening } from '~/model/screening.svelte';

export type SheetName = 'new' | 'edit' | 'assign' | 'close' | 'priority' | 'mark' | 'clinical' | 'keys';
export type Place = Pick<Fix, 'latE7' | 'lonE7'>;

/** The description of an incident as it is being mended; `place` in the words that were typed. */
export interface Description {
    typeCode: string;
    district: string;
    address: string;
    place: string;
    narrative: string;
}

export interface Given {
    readonly desk: Desk;
    readonly screening: Screening;
    readonly open: (sheet: SheetName) => void;
    /** Look at a place or a unit on the map. */
    readonly show: (place: Place | UnitId) => void;
    /** Let the person point at a place on the map; `taken` gets it. */
    readonly pick: (taken: (place: Place) => void) => void;
}

export const [given, give] = createContext<Given>();
