/**
 * What a tap on a status says: the coarse status that goes with it, and the mark that it leaves in the timeline of an
 * incident. One table, so that a unit and its crew cannot say two things.
 */
import type { Mark, PrimaryStatus, SecondaryStatus } from './engine';

export interface StatusChoice {
    readonly primary: PrimaryStatus;
    readonly secondary: SecondaryStatus | null;
    /** Left only while the unit works an incident. */
    readonly mark: Mark | null;
}

const choice = (
    primary: PrimaryStatus,
    secondary: SecondaryStatus | null,
    mark: Mark | null = null,
): StatusChoice => ({ primary, secondary, mark });

/** One tap each, in the order of a night. */
export const quickChoices: readonly StatusChoice[] = [
    choice('NotAvailable', 'EnRoute', 'en_route'),
    choice('NotAvailable', 'OnScene', 'arrived'),
    choice('NotAvailable', 'PatientContact', 'person_contact'),
    choice('NotAvailable', 'Transporting', 'left_scene'),
    choice('Available', null, 'back_in_service'),
];

/** The rest of the table, behind "more". */
export const moreChoices: readonly StatusChoice[] = [
    choice('NotAvailable', 'AcknowledgedTransmission', 'acknowledged'),
    choice('NotAvailable', 'Staging'),
    choice('NotAvailable', 'Arrived', 'arrived'),
    choice('NotAvailable', 'Delayed'),
    choice('NotAvailable', 'Consulting'),
    choice('NotAvailable', 'Hospital', 'arrived_destination'),
    choice('ConditionallyAvailable', 'Cleared', 'left_scene'),
    choice('ConditionallyAvailable', null),
    choice('Available', 'InService', 'back_in_service'),
    choice('Available', 'OnDuty'),
    choice('NotAvailable', 'Break'),
    choice('NotAvailable', 'OffDuty'),
    choice('NotAvailable', 'OutofService'),
    choice('NotAvailable', 'Dispatched', 'dispatched'),
    choice('NotAvailable', null),
];
