/**
 * The field's own words: roles, disciplines, statuses, urgencies, timeline marks (spec 05 to 07).
 *
 * Numbers travel on the socket, names in JSON; a number once given is never reused. A test compares every list
 * with `protocol/leeside_protocol/words.py`.
 */

export const ROLES = [
    'responder',
    'dispatcher',
    'psychiatrist',
    'interpreter',
    'receiving_facility',
    'supervisor',
    'records_officer',
    'admin',
] as const;
export type Role = (typeof ROLES)[number];

/** What shows an agency who is at the device (spec 02, "The person"). */
export const PERSON_BY = ['device', 'passkey', 'oidc'] as const;
export type PersonBy = (typeof PERSON_BY)[number];

export const DISCIPLINES = [
    'clinician',
    'peer_specialist',
    'emt',
    'law_enforcement_officer',
    'case_manager',
] as const;
export type Discipline = (typeof DISCIPLINES)[number];

/** Information that is kept apart with keys of its own; a channel has exactly one. */
export const Compartment = {
    operations: 0,
    clinical: 1,
    record: 2,
    substance_use: 3,
    criminal_justice: 4,
} as const;
export type Compartment = (typeof Compartment)[keyof typeof Compartment];

/** Why a channel exists; decides who may open it and who commits. */
export const CHANNEL_PURPOSES = ['unit', 'desk', 'agency', 'on_call', 'incident', 'consult'] as const;
export type ChannelPurpose = (typeof CHANNEL_PURPOSES)[number];

/** The promise that a message is sent with (spec 03, "Three lanes"). */
export const Lane = { log: 1, state: 2, stream: 3 } as const;
export type Lane = (typeof Lane)[keyof typeof Lane];

/** How much a message presses; `urgent` repeats at the receiver until it is acknowledged. */
export const Urgency = { routine: 0, important: 1, urgent: 2 } as const;
export type Urgency = (typeof Urgency)[keyof typeof Urgency];

/** A timeline mark in the clear, attached to a sealed status when the agency's policy wants times (spec 07). */
export const Mark = {
    none: 0,
    call_received: 1,
    screened: 2,
    dispatched: 3,
    acknowledged: 4,
    en_route: 5,
    arrived: 6,
    person_contact: 7,
    consult_requested: 8,
    consult_accepted: 9,
    video_joined: 10,
    consult_ended: 11,
    left_scene: 12,
    arrived_destination: 13,
    transfer_of_care: 14,
    back_in_service: 15,
    closed: 16,
} as const;
export type Mark = (typeof Mark)[keyof typeof Mark];
export const MARK_MAX = 16;

export const INCIDENT_STATES = ['open', 'assigned', 'on_scene', 'closed', 'cancelled'] as const;
export type IncidentState = (typeof INCIDENT_STATES)[number];

/** Where a consult stands (spec 08). `requested`: held for a supervisor, nobody is paged yet. */
export const CONSULT_STATES = [
    'requested',
    'paging',
    'accepted',
    'in_session',
    'ended',
    'cancelled',
    'exhausted',
] as const;
export type ConsultState = (typeof CONSULT_STATES)[number];

/** How far a page came with one member (spec 08). */
export const TARGET_STATES = [
    'queued',
    'sent',
    'delivered',
    'seen',
    'accepted',
    'declined',
    'timed_out',
    'unreachable',
] as const;
export type TargetState = (typeof TARGET_STATES)[number];

/** What a person does to a consult (spec 08). `side` names the clinicians' own channel. */
export const CONSULT_ACTIONS = [
    'accept',
    'decline',
    'hold',
    'escalate',
    'cancel',
    'join',
    'leave',
    'end',
    'take',
    'release',
    'side',
] as const;
export type ConsultAction = (typeof CONSULT_ACTIONS)[number];

/** How an incident ended; sealed, and empty while it goes on (spec 10). */
export const DISPOSITIONS = [
    '',
    'resolved_by_phone',
    'remained_in_place',
    'remained_with_support',
    'voluntary_transport',
    'involuntary_hold',
    'medical_transport',
    'crisis_facility',
    'referral_made',
    'law_enforcement_custody',
    'declined_service',
    'unable_to_locate',
    'cancelled',
] as const;
export type Disposition = (typeof DISPOSITIONS)[number];

/** A unit's availability (NENA-STA-021.1b primary unit status). */
export const PRIMARY_STATUSES = ['Available', 'ConditionallyAvailable', 'NotAvailable'] as const;
export type PrimaryStatus = (typeof PRIMARY_STATUSES)[number];

/** What a unit is doing (NENA-STA-021.1b secondary unit status, and our extension `Consulting`). */
export const SECONDARY_STATUSES = [
    'Dispatched',
    'AcknowledgedTransmission',
    'EnRoute',
    'Staging',
    'Arrived',
    'OnScene',
    'PatientContact',
    'Transporting',
    'Hospital',
    'Delayed',
    'Cleared',
    'InService',
    'OutofService',
    'OnDuty',
    'OffDuty',
    'Break',
    'Consulting',
] as const;
export type SecondaryStatus = (typeof SECONDARY_STATUSES)[number];
